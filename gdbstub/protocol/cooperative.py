"""A target of one thread that shares the server's: it executes a slice, then the loop has a turn.

It executes nothing itself and knows no register: a subclass does, an emulator for example.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from traceback import format_exception_only
from typing import Final

from gdbstub.aarch64.registers import Register
from gdbstub.agent import Clauses
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


class CooperativeTarget(ABC):
    """All of ``Target`` but registers, memory and ``execute``; and ``BreakpointConditions``.

    Nothing here is for another thread than the event loop's.
    """

    #: What the subclass has; one of them is of type ``code_ptr``, and the first such is the pc.
    registers: Sequence[Register]
    #: Instructions between two looks at the client; 0x03 is heard as often.
    slice = 10_000
    #: Breakpoints and watchpoints are looked up here: as many as anybody wants.
    watchpoint_slots = 64

    def __init__(self) -> None:
        """Begin at rest."""
        self.notify: Callable[[], None] = lambda: None
        self._action: Action | Range = Action.CONTINUE
        self._wanted: Report | None = None  # what is to end the running, between two slices
        self.begin()
        self._inserted: dict[BreakpointKind, set[tuple[int, int]]] = {
            kind: set() for kind in BreakpointKind
        }
        self._conditions = Conditions(self)

    # What a subclass has.

    @abstractmethod
    def read_registers(self, thread: int, registers: Sequence[Register]) -> bytes:
        """As ``Target.read_registers``."""

    @abstractmethod
    def write_register(self, thread: int, register: Register, data: bytes) -> None:
        """As ``Target.write_register``."""

    @abstractmethod
    def read_memory(self, thread: int, address: int, length: int) -> bytes:
        """As ``Target.read_memory``."""

    @abstractmethod
    def write_memory(self, thread: int, address: int, data: bytes) -> None:
        """As ``Target.write_memory``."""

    @abstractmethod
    def execute(self, count: int) -> Report | None:
        """Execute *count* instructions at most; say what stopped it before, if anything did.

        ``breakpoint_at`` and ``watchpoint_at`` say what stops it, each before its instruction.
        """

    def begin(self) -> None:
        """Be at rest with nothing to say, as at first: the end of a subclass's ``reset``."""
        self.running = False
        self._wanted = None
        self._report: Report = Stopped(1)

    def breakpoint_at(self, gva: int) -> Stopped | None:
        """What stops the instruction at *gva*, if anything does; asked once each time."""
        for kind, stop in _BREAKS.items():
            if (gva, 0) in self._inserted[kind] and self._conditions.stops(1, kind, gva):
                return Stopped(1, stop=stop)
        return None

    def watchpoint_at(self, gva: int, size: int, *, write: bool) -> Stopped | None:
        """What stops an access to *size* bytes at *gva*, if anything does."""
        for kind, stop in (_WRITES if write else _READS).items():
            for start, length in self._inserted[kind]:
                if start < gva + size and gva < start + length:
                    return Stopped(1, stop=stop, gva=max(start, gva))
        return None

    # What the server calls; ``Target`` says what each is for.

    def threads(self) -> Sequence[Thread]:
        """One."""
        return [Thread(1, 0, "main", "running" if self.running else "halted")]

    def insert(self, thread: int, kind: BreakpointKind, gva: int, length: int) -> None:
        """Insert a breakpoint or watchpoint."""
        self._inserted[kind].add((gva, 0 if kind in _BREAKS else length))

    def remove(self, thread: int, kind: BreakpointKind, gva: int, length: int) -> None:
        """Remove it."""
        self._inserted[kind].discard((gva, 0 if kind in _BREAKS else length))
        self._conditions.remove(kind, gva)

    def attach(self, kind: BreakpointKind, gva: int, clauses: Clauses) -> None:
        """Give a breakpoint conditions and commands, in place of any that it had."""
        self._conditions.attach(kind, gva, clauses)

    def take_output(self) -> bytes:
        """What commands have printed since the last time."""
        return self._conditions.take_output()

    def resume(self, resume: Resume) -> None:
        """Have the first slice done at the loop's next turn."""
        self._action, self._wanted, self.running = resume.actions[1], None, True
        asyncio.get_running_loop().call_soon(self._slice)

    def interrupt(self) -> None:
        """End the running before the next slice."""
        self._wanted = self._wanted or Stopped(1, Signal.INT)

    def take_report(self) -> Report | None:
        """Why it is at rest."""
        return None if self.running else self._report

    def report(self) -> Report:
        """Why it is at rest."""
        return self._report

    def release(self) -> None:
        """Forget all breakpoints but those that print while no client is there."""
        kept = self._conditions.release()
        for kind, places in self._inserted.items():
            places.intersection_update((gva, 0) for each, gva in kept if each is kind)

    def detach(self) -> None:
        """Forget them likewise and go on."""
        self.release()
        if not self.running and not isinstance(self._report, Exited):
            self.resume(Resume({1: Action.CONTINUE}))

    def kill(self) -> None:
        """End it, now or before the next slice."""
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
        """Execute a slice; why the target is at rest now, or None where it is not."""
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
