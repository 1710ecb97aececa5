"""The debug core with commands of its own: what a session of ``gdbstub run`` serves.

It parses nothing: ``table.py`` does.
"""

from contextlib import suppress

from gdbstub.aarch64.registers import PC
from gdbstub.capabilities import (
    Capability,
    Command,
    HasExecFile,
    Monitor,
    Relocatable,
    Relocation,
)
from gdbstub.debug.debugger import Debugger
from gdbstub.errors import NotFound
from gdbstub.linux.kaslr import NO_PROGRAM, GuestProgram
from gdbstub.linux.locator import KernelLocator
from gdbstub.machine import Machine
from gdbstub.monitor.breakpoint_history import BreakpointHistory
from gdbstub.target import BreakpointKind, Report, Resume, Stopped, StopReason


class MonitoredDebugger(Debugger, Monitor, HasExecFile, Relocatable):
    """A ``Debugger`` with monitor commands and what they show, which knows its program, too."""

    def __init__(self, machine: Machine, program: GuestProgram = NO_PROGRAM) -> None:
        super().__init__(machine)
        self._program = program
        self._locator = KernelLocator(program, machine, self._memory)
        self._history = BreakpointHistory()

    @property
    def exec_file(self) -> str:
        """What clients have symbols of (``HasExecFile``)."""
        return self._program.file

    def offers(self, capability: type[Capability]) -> bool:
        """Return True but for ``Relocatable`` where no kernel with symbols is known."""
        if capability is Relocatable:
            return self._program.kernel is not None
        return super().offers(capability)

    def relocation(self) -> Relocation | None:
        """Where the kernel is (``Relocatable``)."""
        with suppress(NotFound):
            return self._locator.find()[0]
        return None

    def monitor(self, command: Command) -> str:
        """Do what was typed; what is to be shown."""
        # Not at the top: every start would wait for what few sessions use.
        from gdbstub.monitor.commands import COMMANDS, CommandContext

        self._index(command.thread)
        context = CommandContext(
            *(command, self, self._machine, self._breakpoints, self._history, self._locator)
        )
        return COMMANDS.execute(context, command.line)

    def insert(self, thread: int, kind: BreakpointKind, gva: int, length: int) -> None:
        """Insert a breakpoint or watchpoint."""
        super().insert(thread, kind, gva, length)
        places = self._breakpoints.places(gva) if kind is BreakpointKind.SOFTWARE else frozenset()
        self._history.insert(kind, gva, length, places)

    def remove(self, thread: int, kind: BreakpointKind, gva: int, length: int) -> None:
        """Remove what the same arguments inserted."""
        super().remove(thread, kind, gva, length)
        self._history.remove(kind, gva, length)

    def resume(self, resume: Resume) -> None:
        """Set the threads going."""
        super().resume(resume)
        self._history.runs += 1

    def take_report(self) -> Report | None:
        """What there is to say after a stop."""
        report = super().take_report()
        if isinstance(report, Stopped) and report.stop is not StopReason.PLAIN:
            self._history.hit(report, self._machine.vcpus[report.thread - 1].get(PC))
        return report

    def detach(self) -> None:
        """Leave nothing of ours behind and let the guest run."""
        self._history = BreakpointHistory()
        super().detach()

    def release(self) -> None:
        """Leave nothing of ours behind; halted stays halted."""
        self._history = BreakpointHistory()
        super().release()
