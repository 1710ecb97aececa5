"""A target that shares the event loop: slices, stops, and clients that leave while it runs."""

import asyncio
from collections.abc import Sequence

from gdbstub import (
    Action,
    BreakpointKind,
    Clauses,
    Exited,
    Range,
    Register,
    Report,
    Resume,
    Signal,
    Stopped,
    StopReason,
    rsp,
)
from gdbstub.aarch64.architecture import AARCH64
from gdbstub.aarch64.registers import PC, X
from gdbstub.capabilities import Restartable, physical_memory
from gdbstub.errors import MemoryFault
from gdbstub.protocol.cooperative import CooperativeTarget
from gdbstub.protocol.session import Session
from gdbstub.target import program_counter
from tests.pure.agent import assemble, printf

FAILED = "the target failed: ZeroDivisionError: of all things"


class Nops(CooperativeTarget):
    """Two registers, no memory, and an endless row of instructions, the pc their count."""

    architecture = AARCH64
    registers = (X[0], PC)
    slice = 10

    def __init__(self) -> None:
        super().__init__()
        self.counter = 0
        self.slices: list[int] = []
        self.trouble: Exception | None = None

    def read_registers(self, thread: int, registers: Sequence[Register]) -> bytes:
        values = {X[0]: 7, PC: self.counter}
        return b"".join(values[row].to_bytes(8, "little") for row in registers)

    def write_register(self, thread: int, register: Register, data: bytes) -> None:
        assert register is PC
        self.counter = int.from_bytes(data, "little")

    def read_memory(self, thread: int, address: int, length: int) -> bytes:
        raise MemoryFault("no memory")

    def write_memory(self, thread: int, address: int, data: bytes) -> None:
        raise MemoryFault("no memory")

    def execute(self, count: int) -> Report | None:
        self.slices.append(count)
        if self.trouble:
            raise self.trouble
        for _ in range(count):
            if stop := self.breakpoint_at(self.counter):
                return stop
            self.counter += 4
        return None


async def stopped(target: CooperativeTarget) -> Report:
    """Wait until *target* has stopped, and return its report."""
    news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    target.notify = lambda: news.set_result(None)
    await asyncio.wait_for(news, 10)
    assert not target.running
    assert target.take_report() == target.report()
    return target.report()


async def test_a_breakpoint_ends_a_slice() -> None:
    target = Nops()
    target.insert(1, BreakpointKind.SOFTWARE, 100, 4)
    target.resume(Resume({1: Action.CONTINUE}))
    assert target.running
    assert target.slices == []
    assert await stopped(target) == Stopped(1, stop=StopReason.SWBREAK)
    assert (target.counter, target.slices) == (100, [10, 10, 10])


async def test_steps_and_ranges() -> None:
    target = Nops()
    target.resume(Resume({1: Action.STEP}))
    assert await stopped(target) == Stopped(1)
    assert target.counter == 4
    target.resume(Resume({1: Range(0, 200)}))
    assert await stopped(target) == Stopped(1)
    assert target.counter == 200
    target.insert(1, BreakpointKind.HARDWARE, 220, 4)
    target.resume(Resume({1: Range(200, 400)}))
    assert await stopped(target) == Stopped(1, stop=StopReason.HWBREAK)
    assert target.counter == 220


async def test_interrupt_is_heard_between_slices() -> None:
    target = Nops()
    target.resume(Resume({1: Action.CONTINUE}))
    asyncio.get_running_loop().call_later(0, target.interrupt)
    assert await stopped(target) == Stopped(1, Signal.INT)
    assert target.counter == 4 * sum(target.slices)


async def test_who_leaves_while_it_runs_lets_it_run() -> None:
    target = Nops()
    target.resume(Resume({1: Action.CONTINUE}))
    target.insert(1, BreakpointKind.SOFTWARE, 400, 4)
    target.release()
    while target.counter <= 400:  # noqa: ASYNC110 - one turn of the loop is one slice
        await asyncio.sleep(0)
    assert target.running
    target.detach()
    target.kill()
    assert await stopped(target) == Exited()
    target.detach()
    assert not target.running


class Anew(Nops, Restartable):
    """A cooperative target that can be reset."""

    def reset(self) -> None:
        self.counter = 0
        self.begin()


async def test_run_after_its_end_begins_anew() -> None:
    target = Anew()
    session = Session(target)
    for packet in (b"QStartNoAckMode", b"!", b"vKill;1"):
        session.receive(rsp.encode(packet))
    assert target.report() == Exited()
    assert session.receive(rsp.encode(b"vRun;")).startswith(b"$T05thread:1;")
    target.resume(Resume({1: Action.STEP}))
    assert await stopped(target) == Stopped(1)
    assert target.counter == 4


async def test_conditions_are_evaluated_between_instructions() -> None:
    target = Nops()
    target.insert(1, BreakpointKind.SOFTWARE, 40, 4)
    target.attach(
        BreakpointKind.SOFTWARE, 40, Clauses.compile([assemble("reg 0; const8 8; equal; end")])
    )
    target.insert(1, BreakpointKind.HARDWARE, 80, 4)
    target.attach(
        BreakpointKind.HARDWARE, 80, Clauses.compile([assemble("reg 32; const8 80; equal; end")])
    )
    target.resume(Resume({1: Action.CONTINUE}))
    assert await stopped(target) == Stopped(1, stop=StopReason.HWBREAK)
    assert target.counter == 80


async def test_what_prints_without_a_client_stays_when_it_leaves() -> None:
    target = Nops()
    hi = assemble("const8 0; const8 0") + printf(0, b"hi") + assemble("end")
    for gva, persist in ((400, True), (440, False)):
        target.insert(1, BreakpointKind.SOFTWARE, gva, 4)
        target.attach(BreakpointKind.SOFTWARE, gva, Clauses.compile([], [hi], persist=persist))
    target.insert(1, BreakpointKind.SOFTWARE, 480, 4)
    target.detach()
    while target.counter <= 500:  # noqa: ASYNC110 - one turn of the loop is one slice
        await asyncio.sleep(0)
    assert target.take_output() == b"hi"
    target.kill()


async def test_an_execute_that_fails_is_a_stop_that_says_so() -> None:
    target = Nops()
    target.trouble = ZeroDivisionError("of all things")
    target.resume(Resume({1: Action.CONTINUE}))
    assert await stopped(target) == Stopped(1, Signal.ABRT, text=FAILED)


def test_watchpoints_are_hit_by_any_byte() -> None:
    target = Nops()
    target.insert(1, BreakpointKind.WRITE, 0x100, 8)
    target.insert(1, BreakpointKind.ACCESS, 0x200, 4)
    assert target.watchpoint_at(0xFC, 4, write=True) is None
    assert target.watchpoint_at(0xFD, 4, write=True) == Stopped(1, stop=StopReason.WATCH, gva=0x100)
    assert target.watchpoint_at(0x107, 8, write=True) == Stopped(
        1, stop=StopReason.WATCH, gva=0x107
    )
    assert target.watchpoint_at(0x100, 8, write=False) is None
    assert target.watchpoint_at(0x203, 1, write=False) == Stopped(
        1, stop=StopReason.AWATCH, gva=0x203
    )
    target.remove(1, BreakpointKind.WRITE, 0x100, 8)
    assert target.watchpoint_at(0x100, 8, write=True) is None


def test_a_target_with_few_registers_and_no_capabilities() -> None:
    """A client finds missing registers unavailable, and missing packets unknown."""
    target = Nops()
    assert program_counter(target.registers) is PC
    assert physical_memory(target) is None
    session = Session(target)
    session.receive(rsp.encode(b"QStartNoAckMode") + b"+")
    general = b"07" + bytes(15).hex().encode()
    for packet, reply in {
        b"g": general,
        b"p1": b"E02",
        b"?": b"T05thread:1;20:%b;" % general[16:],
        b"m0,4": b"E0e",
        b"qRcmd,68": b"",
        b"qMemTags:0,10:1": b"",
        b"qqemu.Supported": b"",
        b"QListThreadsInStopReply": b"OK",
        b"qThreadStopInfo1": b"T05thread:1;reason:signal;20:%b;" % general[16:],
    }.items():
        assert session.receive(rsp.encode(packet)) == rsp.encode(reply)
