"""A line that waits for another vCPU, which waits for this one's interrupt handler."""

from collections.abc import Callable

import pytest

from gdbstub.aarch64.registers import CPSR, ELR_EL1, PC, VBAR_EL1
from gdbstub.debug import plans
from gdbstub.target import Action, BreakpointKind, Range, Stopped, StopReason
from tests.contract.backends import Backend
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.programs import DATA, VECTORS, Program, at
from tests.contract.run_control import HW, NEVER, NOTES_FLAG, SW, WAITS_FOR_SIBLING, put

Begin = Callable[[Program], Client]

LINE = Range(at(7), at(9))
IRQ = VECTORS + 0x280


@pytest.fixture
def waiting(start: Start, backend: Backend) -> Client:
    """vCPU 0 at its line, its interrupt pending; vCPU 1 running, waiting for the handler."""
    client = Client(start(WAITS_FOR_SIBLING, vcpus=2).machine)
    vcpu = client.machine.vcpus[0]
    client.machine.write_memory(IRQ, NOTES_FLAG.image)
    put(client, SW, at(7))
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    client.target.remove(1, SW, at(7), 4)
    vcpu.set(VBAR_EL1, VECTORS)
    vcpu.set(ELR_EL1, 0x1234)
    vcpu.set(CPSR, 0x305)
    backend.pend_irq(client.machine, True)
    return client


def flag(client: Client) -> int:
    return int.from_bytes(client.machine.read_memory(DATA, 8), "little")


def test_the_line_ends_where_it_ends(waiting: Client) -> None:
    report = waiting.resume({1: LINE, 2: Action.CONTINUE})
    assert report == Stopped(1)
    assert (waiting.pc(1), waiting.x(1, 1), flag(waiting)) == (at(9), 1, 1)
    assert waiting.machine.vcpus[0].get(CPSR) & 0x3C0 == 0x380, "as its handler went back"


def test_the_line_ends_where_it_ends_though_no_comparator_is_free(
    waiting: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler is stepped."""
    monkeypatch.setattr(plans, "_MASKED_PIECES_WITHOUT_ROOM", 100)
    for number in range(waiting.machine.breakpoint_slots):
        put(waiting, HW, DATA + 0x100 + 4 * number)
    report = waiting.resume({1: LINE, 2: Action.CONTINUE})
    assert report == Stopped(1)
    assert (waiting.pc(1), waiting.x(1, 1), flag(waiting)) == (at(9), 1, 1)
    assert waiting.machine.vcpus[0].get(CPSR) & 0x3C0 == 0x380


def test_the_line_can_be_stepped_once_more(waiting: Client) -> None:
    waiting.resume({1: LINE, 2: Action.CONTINUE})
    assert waiting.resume({1: Action.STEP, 2: Action.CONTINUE}) == Stopped(1)
    assert waiting.pc(1) == at(10)


@pytest.mark.parametrize("kind", [SW, HW])
def test_a_breakpoint_in_the_handler_stops(waiting: Client, kind: BreakpointKind) -> None:
    put(waiting, kind, IRQ + 4)
    report = waiting.resume({1: LINE, 2: Action.CONTINUE})
    assert (report.thread, waiting.pc(1)) == (1, IRQ + 4)
    assert report.stop is (StopReason.SWBREAK if kind is SW else StopReason.HWBREAK)
    vcpu = waiting.machine.vcpus[0]
    assert vcpu.get(ELR_EL1) in (at(7), at(8))
    assert vcpu.get(CPSR) & 0x3C0 == 0x3C0
    waiting.target.remove(1, kind, IRQ + 4, 4)
    put(waiting, SW, at(9))
    assert waiting.go() == Stopped(1, stop=StopReason.SWBREAK)


def test_a_watchpoint_in_the_handler_stops(waiting: Client) -> None:
    waiting.target.insert(1, BreakpointKind.WRITE, DATA + 8, 8)
    report = waiting.resume({1: LINE, 2: Action.CONTINUE})
    assert (report.thread, report.stop, report.gva) == (1, StopReason.WATCH, DATA + 8)
    assert waiting.pc(1) == IRQ + 4


@pytest.mark.parametrize("kind", [SW, HW])
def test_breakpoints_that_do_not_stop_do_not_hinder(waiting: Client, kind: BreakpointKind) -> None:
    put(waiting, kind, at(7), NEVER)
    put(waiting, kind, IRQ + 4, NEVER)
    assert waiting.resume({1: LINE, 2: Action.CONTINUE}) == Stopped(1)
    assert (waiting.pc(1), flag(waiting)) == (at(9), 1)


def test_a_line_that_waits_for_nothing_that_comes_can_be_interrupted(waiting: Client) -> None:
    """The sibling is not resumed."""
    waiting.interrupt_at_once()
    for _ in range(3):
        waiting.resume({1: LINE})
        assert waiting.pc(1) in (at(7), at(8), *range(IRQ, IRQ + 24, 4))
    vcpu = waiting.machine.vcpus[0]
    if vcpu.get(PC) < VECTORS:
        assert vcpu.get(CPSR) & 0x3C0 in (0x300, 0x380)
