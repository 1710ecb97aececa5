"""Monitor: gives a debugger its ``monitor`` commands, and the program that it locates.

``table`` parses what was typed; ``commands`` has the commands.
"""

import logging
from typing import TYPE_CHECKING

from gdbstub.aarch64.registers import PC
from gdbstub.capabilities import Command
from gdbstub.debug.debugger import Debugger
from gdbstub.debug.extensions import Observer
from gdbstub.linux.kaslr import NO_PROGRAM, GuestProgram
from gdbstub.linux.locator import KernelLocator
from gdbstub.machine import Machine
from gdbstub.monitor.breakpoint_history import BreakpointHistory
from gdbstub.monitor.os_tables import tables
from gdbstub.target import BreakpointKind, Stopped, StopReason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from gdbstub.linux.core_file import CoreOutput, NewFile
    from gdbstub.linux.guest import LinuxGuest
    from gdbstub.linux.module_files import ModuleFiles


_log = logging.getLogger(__name__)


def monitored_debugger(
    machine: Machine,
    program: GuestProgram = NO_PROGRAM,
    *,
    stops: "Sequence[str]" = (),
    new_file: "NewFile | None" = None,
) -> Debugger:
    """Return a debugger of *machine* that has ``monitor`` commands and knows its *program*.

    It stops a Linux guest for the reasons *stops*. Core files are opened by *new_file*, or in the
    working directory.
    """
    debugger = Debugger(machine)
    monitor = CommandMonitor(debugger, program, new_file or _in_working_directory)
    debugger.commands = monitor.execute
    debugger.long_commands = monitor.takes_long
    debugger.os_tables = tables(debugger.machine, monitor.linux)
    debugger.program = monitor.locator
    debugger.observers.append(monitor.locator)
    if program.modules is not None:
        _follow_modules(debugger, monitor, program.modules)
    if stops and program.kernel is not None:
        from gdbstub.linux.stop_on import StopOn  # not at the top: few sessions have reasons

        debugger.stop_points.append(
            StopOn(
                program.kernel, stops, monitor.locator.stop_point_place, machine, debugger.memory
            )
        )
    debugger.observers.append(monitor)
    return debugger


def _in_working_directory(name: str) -> "AbstractContextManager[CoreOutput]":
    from pathlib import Path  # not at the top: few sessions write core files

    from gdbstub.linux.core_file import new_file

    return new_file(Path(name))


def _follow_modules(debugger: Debugger, monitor: "CommandMonitor", files: "ModuleFiles") -> None:
    """Have *debugger* tell its clients of the modules of its program, which have *files*."""
    # Not at the top: few starts have modules.
    from gdbstub.linux.libraries import ModuleLibraries
    from gdbstub.linux.module_events import ModuleEvents

    events, kernel = None, monitor.locator.program.kernel
    if kernel is not None and ModuleEvents.has_places(kernel):
        events = ModuleEvents(kernel, monitor.locator.stop_point_place, debugger.machine)
        debugger.stop_points.append(events)
        debugger.observers.append(events)
    else:
        _log.warning(
            "breakpoints in modules are not set before their init runs: the kernel's symbols have "
            "no do_init_module or no free_module"
        )
    debugger.modules = ModuleLibraries(monitor.linux, files, events)


class CommandMonitor(Observer):
    """Commands over a debugger and the program of its guest.

    It observes the debugger for the history of breakpoints that ``break list`` shows.
    """

    def __init__(self, debugger: Debugger, program: GuestProgram, new_file: "NewFile") -> None:
        """Begin with an empty history; *new_file* opens core files."""
        self._debugger = debugger
        self._new_file = new_file
        self._history = BreakpointHistory()
        self._kernel: LinuxGuest | None = None
        self.locator = KernelLocator(program, debugger.machine, debugger.memory)

    def execute(self, command: Command) -> str:
        """Execute what was typed; return the text to show (``capabilities.Monitor``).

        Raises:
            StubError: it cannot be done.
        """
        # Not at the top: every start would wait for what few sessions use.
        from gdbstub.monitor.commands import COMMANDS, CommandContext

        self._debugger.index(command.thread)  # it must exist
        context = CommandContext(
            command,
            self._debugger,
            self._history,
            self.locator,
            self.linux(),
            self._new_file,
        )
        return COMMANDS.execute(context, command.line)

    def takes_long(self, command: Command) -> bool:
        """Return True if a command of this kind looks through the guest's memory."""
        from gdbstub.monitor.commands import COMMANDS

        return COMMANDS.takes_long(command.line)

    def linux(self) -> "LinuxGuest":
        """Return the kernel that commands look at; it is made when the first one does."""
        if self._kernel is None:
            from gdbstub.linux.guest import LinuxGuest

            self._kernel = LinuxGuest(self._debugger.machine, self._debugger.memory)
        return self._kernel

    def inserted(self, kind: BreakpointKind, gva: int, length: int) -> None:
        """Note the request."""
        self._history.insert(kind, gva, length)

    def removed(self, kind: BreakpointKind, gva: int, length: int) -> None:
        """Note the removal."""
        self._history.remove(kind, gva, length)

    def resumed(self) -> None:
        """Count the run."""
        self._history.runs += 1

    def stopped(self, stop: Stopped) -> None:
        """Count the hit."""
        if stop.stop not in (StopReason.PLAIN, StopReason.LIBRARY):
            self._history.hit(stop, self._debugger.machine.vcpus[stop.thread - 1].get(PC))

    def client_left(self) -> None:
        """Begin anew for the next client: no history, all processes, no tasks as threads."""
        self._debugger.process = self._debugger.tasks = None
        self._history = BreakpointHistory()
