"""A target made of a dictionary: enough of a guest to hold a conversation with.

It keeps no clock and starts no thread: a guest that runs on goes on until a test, or an
interrupt, says that it has stopped.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from gdbstub.aarch64.architecture import AARCH64
from gdbstub.aarch64.registers import FPSIMD, GENERAL, PC
from gdbstub.architecture import Architecture, Register
from gdbstub.capabilities import PhysicalMemory, Restartable
from gdbstub.errors import MemoryFault, NoSlot, NoSuchRegister
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
)

#: Registers of a target, unless a test gives it more.
CLIENT = (*GENERAL, *FPSIMD)

#: Address and size of the memory, and its physical address.
BASE = 0x4000_0000
SIZE = 0x1000
PHYSICAL = 0x9000_0000

#: ``b .``: a continued thread stays here until it is interrupted.
HERE = 0x1400_0000


@cache
def _zeroes(cpus: int) -> Mapping[tuple[int, Register], bytes]:
    """Return the value of each register of each thread."""
    return {(cpu, row): bytes(row.size) for cpu in range(1, cpus + 1) for row in CLIENT}


@dataclass
class FakeTarget(PhysicalMemory, Restartable):
    """A ``Target`` of NOPs, in which a continued thread runs to a breakpoint or to ``b .``."""

    cpus: int = 2
    memory: bytearray = field(default_factory=lambda: bytearray(b"\x1f\x20\x03\xd5" * (SIZE // 4)))
    running: bool = False
    lacking: set[Register] = field(default_factory=set)
    slots: int = 4
    watchpoint_slots: int = 4
    #: Every call that changes something, in order.
    calls: list[object] = field(default_factory=list)
    #: Raised by whatever is asked next.
    trouble: Exception | None = None
    #: False: nothing happens to a resumed target until the test says ``stop``.
    lively: bool = True

    registers: Sequence[Register] = CLIENT
    architecture: Architecture = AARCH64

    def __post_init__(self) -> None:
        self.notify: Callable[[], None] = lambda: None
        self.values = {**_zeroes(self.cpus)}
        for cpu in range(1, self.cpus + 1):
            self.values[cpu, PC] = BASE.to_bytes(8, "little")
        self.inserted: set[tuple[BreakpointKind, int, int]] = set()
        self.last: Report = Stopped(1)
        self.news: Report | None = None

    # What tests do to the guest.

    def stop(self, report: Report) -> None:
        self.running = False
        self.last = self.news = report
        self.notify()

    def pc(self, thread: int = 1) -> int:
        return int.from_bytes(self.values[thread, PC], "little")

    # What the protocol side calls.

    def threads(self) -> Sequence[Thread]:
        return [Thread(n + 1, n, f"CPU#{n}", "halted") for n in range(self.cpus)]

    def read_registers(self, thread: int, registers: Sequence[Register]) -> bytes:
        self._meet_trouble()
        if lacking := self.lacking.intersection(registers):
            raise NoSuchRegister(f"no {lacking.pop().name}")
        return b"".join(self.values[thread, row] for row in registers)

    def write_register(self, thread: int, register: Register, data: bytes) -> None:
        self._meet_trouble()
        assert len(data) == register.size
        self.calls.append(("write", thread, register.name, data))
        self.values[thread, register] = data

    def read_memory(self, thread: int, gva: int, length: int) -> bytes:
        self._meet_trouble()
        assert length > 0
        if not BASE <= gva < BASE + SIZE:
            raise MemoryFault(f"nothing at {gva:#x}")
        return bytes(self.memory[gva - BASE :][:length])

    def write_memory(self, thread: int, gva: int, data: bytes) -> None:
        self._meet_trouble()
        if not BASE <= gva <= gva + len(data) <= BASE + SIZE:
            raise MemoryFault(f"nothing at {gva:#x}")
        self.memory[gva - BASE : gva - BASE + len(data)] = data

    # The memory at ``BASE`` has the physical address ``PHYSICAL``.

    def read_physical(self, ipa: int, length: int) -> bytes:
        return self.read_memory(1, ipa - PHYSICAL + BASE, length)

    def write_physical(self, ipa: int, data: bytes) -> None:
        self.write_memory(1, ipa - PHYSICAL + BASE, data)

    def insert(self, thread: int, kind: BreakpointKind, gva: int, length: int) -> None:
        self._meet_trouble()
        hardware = {each for each in self.inserted if each[0] != BreakpointKind.SOFTWARE}
        if kind != BreakpointKind.SOFTWARE and len(hardware | {(kind, gva, length)}) > self.slots:
            raise NoSlot("all comparators are in use")
        self.inserted.add((kind, gva, length))

    def remove(self, thread: int, kind: BreakpointKind, gva: int, length: int) -> None:
        self._meet_trouble()
        self.inserted.discard((kind, gva, length))

    def resume(self, resume: Resume) -> None:
        self._meet_trouble()
        assert not self.running
        self.calls.append(resume)
        self.running = True
        if not self.lively:
            return
        for thread, action in resume.actions.items():
            if report := self._run(thread, action):
                self.stop(report)
                return

    def interrupt(self) -> None:
        self._meet_trouble()
        self.calls.append("interrupt")
        if self.running and self.lively:
            self.stop(Stopped(1, Signal.INT))

    def take_report(self) -> Report | None:
        self._meet_trouble()
        news, self.news = self.news, None
        return news

    def report(self) -> Report:
        self._meet_trouble()
        return self.last

    def detach(self) -> None:
        self._meet_trouble()
        self.calls.append("detach")
        self.inserted.clear()
        self.running = True

    def release(self) -> None:
        self.calls.append("release")
        self.inserted.clear()

    def reset(self) -> None:
        self._meet_trouble()
        assert not self.running
        self.calls.append("reset")
        for cpu in range(1, self.cpus + 1):
            self.values[cpu, PC] = BASE.to_bytes(8, "little")
        self.last = Stopped(1)

    def kill(self) -> None:
        self._meet_trouble()
        self.calls.append("kill")
        self.stop(Exited())

    def _run(self, thread: int, action: Action | Range) -> Report | None:
        stops = {gva: kind for kind, gva, _ in self.inserted if kind <= BreakpointKind.HARDWARE}
        inside = range(action.start, action.end) if isinstance(action, Range) else range(0)
        while True:
            gva = self.pc(thread)
            if gva in stops and self._counts(thread, stops[gva], gva):
                hard = stops[gva] is BreakpointKind.HARDWARE
                return Stopped(thread, stop=StopReason.HWBREAK if hard else StopReason.SWBREAK)
            if int.from_bytes(self.read_memory(thread, gva, 4), "little") != HERE:
                gva += 4
            elif action is Action.CONTINUE or gva in inside:
                return None
            self.values[thread, PC] = gva.to_bytes(8, "little")
            if gva in inside:
                continue
            if action is not Action.CONTINUE:
                return Stopped(thread)

    def _counts(self, thread: int, kind: BreakpointKind, gva: int) -> bool:
        """Return True if *thread* stops at this breakpoint."""
        return True

    def _meet_trouble(self) -> None:
        if self.trouble:
            trouble, self.trouble = self.trouble, None
            raise trouble
