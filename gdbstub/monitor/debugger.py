"""The debug core with commands of its own: what a session of ``gdbstub run`` serves.

It parses nothing: ``table.py`` does.
"""

from gdbstub.aarch64.registers import PC
from gdbstub.debugger import Debugger
from gdbstub.machine import Machine
from gdbstub.monitor.context import COMMANDS, Context
from gdbstub.monitor.ledger import Ledger
from gdbstub.target import Command, Kind, Report, Resume, Stop, Stopped


class MonitoredDebugger(Debugger):
    """A ``Debugger`` that also implements ``target.Monitor``, and notes what its commands show."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self._ledger = Ledger()

    def monitor(self, command: Command) -> str:
        """Do what was typed; what is to be shown."""
        self._index(command.thread)
        context = Context(command, self, self._machine, self._breakpoints, self._ledger)
        return COMMANDS.execute(context, command.line)

    def insert(self, thread: int, kind: Kind, gva: int, length: int) -> None:
        """Insert a breakpoint or watchpoint."""
        super().insert(thread, kind, gva, length)
        places = self._breakpoints.places(gva) if kind is Kind.SOFTWARE else frozenset()
        self._ledger.insert(kind, gva, length, places)

    def remove(self, thread: int, kind: Kind, gva: int, length: int) -> None:
        """Remove what the same arguments inserted."""
        super().remove(thread, kind, gva, length)
        self._ledger.remove(kind, gva, length)

    def resume(self, resume: Resume) -> None:
        """Set the threads going."""
        super().resume(resume)
        self._ledger.runs += 1

    def take_report(self) -> Report | None:
        """What there is to say after a stop."""
        report = super().take_report()
        if isinstance(report, Stopped) and report.stop is not Stop.PLAIN:
            self._ledger.hit(report, self._machine.vcpus[report.thread - 1].get(PC))
        return report

    def detach(self) -> None:
        """Leave nothing of ours behind and let the guest run."""
        self._ledger = Ledger()
        super().detach()

    def release(self) -> None:
        """Leave nothing of ours behind; halted stays halted."""
        self._ledger = Ledger()
        super().release()
