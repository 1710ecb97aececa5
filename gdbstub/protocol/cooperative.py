"""Base class for a target of one thread that runs on the event loop, an emulator for example.

It executes a slice of instructions at a time, and the loop has a turn between two slices. It
executes nothing itself and knows no register: a subclass does.
"""

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Callable, Sequence
from traceback import format_exception_only
from typing import Final

from gdbstub.agent import Clauses
from gdbstub.architecture import Architecture, Register
from gdbstub.capabilities import BreakpointConditions
from gdbstub.protocol.conditions import Conditions
from gdbstub.target import (
    Action,
    BreakpointKind,
    Exited,
    Range,
    Report,
    Resume,
    Signal,
    Stopped,
    StopReason,
    Thread,
    program_counter,
)

_log = logging.getLogger(__name__)

_BREAKS: Final = {
    BreakpointKind.SOFTWARE: StopReason.SWBREAK,
    BreakpointKind.HARDWARE: StopReason.HWBREAK,
}
_READS: Final = {BreakpointKind.READ: StopReason.RWATCH, BreakpointKind.ACCESS: StopReason.AWATCH}
_WRITES: Final = {BreakpointKind.WRITE: StopReason.WATCH, BreakpointKind.ACCESS: StopReason.AWATCH}


class CooperativeTarget(BreakpointConditions):
    """All of ``Target`` but registers, memory and ``execute``, with ``BreakpointConditions``.

    All of its methods are for the event loop's thread.
    """

    #: The instruction set of the subclass.
    architecture: Architecture
    #: The registers of the subclass; the pc is the first of type ``code_ptr``.
    registers: Sequence[Register]
    #: Instructions of a slice; an interrupt waits for its end.
    slice = 10_000
    #: Breakpoints and watchpoints are looked up in sets, so any number would do.
    watchpoint_slots = 64

    def __init__(self) -> None:
        """Begin at rest."""
        self.notify: Callable[[], None] = lambda: None
        self._action: Action | Range = Action.CONTINUE
        self._wanted: Report | None = None  # the report that ends the running before a slice
        self.begin()
        self._inserted: dict[BreakpointKind, set[tuple[int, int]]] = {
            kind: set() for kind in BreakpointKind
        }
        self._conditions = Conditions(self)

    # Methods of a subclass.

    @abstractmethod
    def read_registers(self, thread: int, registers: Sequence[Register]) -> bytes:
        """Implement ``Target.read_registers``."""

    @abstractmethod
    def write_register(self, thread: int, register: Register, data: bytes) -> None:
        """Implement ``Target.write_register``."""

    @abstractmethod
    def read_memory(self, thread: int, address: int, length: int) -> bytes:
        """Implement ``Target.read_memory``."""

    @abstractmethod
    def write_memory(self, thread: int, address: int, data: bytes) -> None:
        """Implement ``Target.write_memory``."""

    @abstractmethod
    def execute(self, count: int) -> Report | None:
        """Execute *count* instructions at most; return a report if anything stopped it before.

        ``breakpoint_at`` returns the report before an instruction, ``watchpoint_at`` the one for an
        access. A watchpoint stops before the instruction that accesses memory, or after it where
        ``Architecture.watchpoints_stop_after``.
        """

    def begin(self) -> None:
        """Return to the state at first, at rest with no report: the end of ``reset``."""
        self.running = False
        self._wanted = None
        self._report: Report = Stopped(1)

    def breakpoint_at(self, gva: int) -> Stopped | None:
        """Return the stop at the instruction at *gva*, if there is one.

        Conditions are evaluated and commands run here: call it once each time it is executed.
        """
        for kind, stop in _BREAKS.items():
            if (gva, 0) in self._inserted[kind] and self._conditions.stops(1, kind, gva):
                return Stopped(1, stop=stop)
        return None

    def watchpoint_at(self, gva: int, size: int, *, write: bool) -> Stopped | None:
        """Return the stop for an access to *size* bytes at *gva*, if there is one."""
        for kind, stop in (_WRITES if write else _READS).items():
            for start, length in self._inserted[kind]:
                if start < gva + size and gva < start + length:
                    return Stopped(1, stop=stop, gva=max(start, gva))
        return None

    # Methods that the server calls, which ``Target`` documents.

    def threads(self) -> Sequence[Thread]:
        """List the one thread."""
        return [Thread(1, 0, "main", "running" if self.running else "halted")]

    def insert(self, thread: int, kind: BreakpointKind, gva: int, length: int) -> None:
        """Insert a breakpoint or watchpoint."""
        self._inserted[kind].add((gva, 0 if kind in _BREAKS else length))

    def remove(self, thread: int, kind: BreakpointKind, gva: int, length: int) -> None:
        """Remove a breakpoint or watchpoint."""
        self._inserted[kind].discard((gva, 0 if kind in _BREAKS else length))
        self._conditions.remove(kind, gva)

    def attach(self, kind: BreakpointKind, gva: int, clauses: Clauses) -> None:
        """Replace the conditions and commands of a breakpoint."""
        self._conditions.attach(kind, gva, clauses)

    def take_output(self) -> bytes:
        """Return the text that commands have printed since the last call."""
        return self._conditions.take_output()

    def resume(self, resume: Resume) -> None:
        """Schedule the first slice for the loop's next turn."""
        self._action, self._wanted, self.running = resume.actions[1], None, True
        asyncio.get_running_loop().call_soon(self._slice)

    def interrupt(self) -> None:
        """Stop before the next slice."""
        self._wanted = self._wanted or Stopped(1, Signal.INT)

    def take_report(self) -> Report | None:
        """Return the report of the last stop, or None while it runs."""
        return None if self.running else self._report

    def report(self) -> Report:
        """Return the report of the last stop."""
        return self._report

    def release(self) -> None:
        """Remove all breakpoints but those whose commands persist without a client."""
        kept = self._conditions.release()
        for kind, places in self._inserted.items():
            places.intersection_update((gva, 0) for each, gva in kept if each is kind)

    def detach(self) -> None:
        """Remove the same breakpoints and go on."""
        self.release()
        if not self.running and not isinstance(self._report, Exited):
            self.resume(Resume({1: Action.CONTINUE}))

    def kill(self) -> None:
        """End the program, now or before the next slice."""
        self._report = self._wanted = Exited()

    def _slice(self) -> None:
        try:
            report = self._wanted or self._advance()
        except Exception as error:
            _log.exception("the target failed")
            why = format_exception_only(error)[-1].strip()
            report = Stopped(1, Signal.ABRT, text=f"the target failed: {why}")
        if report is None:
            asyncio.get_running_loop().call_soon(self._slice)
        else:
            self._report, self.running = report, False
            self.notify()

    def _advance(self) -> Report | None:
        """Execute a slice; return a report if the target is at rest now."""
        if self._action is Action.CONTINUE:
            return self.execute(self.slice)
        if self._action is Action.STEP:
            return self.execute(1) or Stopped(1)
        for _ in range(self.slice):
            if report := self.execute(1):
                return report
            if not self._action.start <= self._pc() < self._action.end:
                return Stopped(1)
        return None

    def _pc(self) -> int:
        return int.from_bytes(self.read_registers(1, (program_counter(self.registers),)), "little")
