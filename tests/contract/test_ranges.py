"""Loops within a range: run to where they are left, as if each instruction had been stepped."""

from collections.abc import Callable, Mapping

import pytest

from gdbstub.aarch64.registers import (
    CPSR,
    ELR_EL1,
    ESR_EL1,
    MDSCR_EL1,
    PC,
    SCTLR_EL1,
    SPSR_EL1,
    VBAR_EL1,
    X,
)
from gdbstub.aarch64.sysreg import MDSCR, SCTLR
from gdbstub.machine import DebugExit, RunMode
from gdbstub.target import Action, BreakpointKind, Range, Signal, Stopped, StopReason
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.programs import (
    COUNT,
    DATA,
    FILLS,
    LOOPS,
    LOOPS_AND_PATCHES_ITSELF,
    LOOPS_BY_A_BRANCH,
    LOOPS_WITH_EXITS,
    VECTORS,
    Program,
    at,
)

Begin = Callable[[Program], Client]
Exits = Callable[[Client], list[DebugExit]]
LOOP = Range(at(0), at(3))
NOP = 0xD503201F


@pytest.fixture
def begin(start: Start) -> Begin:
    return lambda program: Client(start(program).machine)


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> Exits:
    """Return a function that records the debug exits which reach a client's target from then on."""

    def note_of(client: Client) -> list[DebugExit]:
        reported: list[DebugExit] = []
        listener = client.machine.listener
        debug_exit = listener.debug_exit

        def note(exit: DebugExit) -> RunMode | None:
            reported.append(exit)
            return debug_exit(exit)

        monkeypatch.setattr(listener, "debug_exit", note)
        return reported

    return note_of


def test_a_loop_is_run_in_one_go(begin: Begin, exits: Exits) -> None:
    client = begin(LOOPS)
    client.machine.vcpus[0].set(X[1], 5000)
    reported = exits(client)
    assert client.resume({1: LOOP}) == Stopped(1)
    assert (client.pc(1), client.x(1, 0), client.x(1, 1)) == (at(3), 5000, 0)
    assert len(reported) == 1


@pytest.mark.parametrize("line", [0, 1, 2])
def test_a_loop_is_run_from_wherever_it_is_begun(begin: Begin, line: int) -> None:
    client = begin(LOOPS)
    vcpu = client.machine.vcpus[0]
    vcpu.set(PC, at(line))
    vcpu.set(X[1], 5)
    vcpu.set(CPSR, 0x3C5)  # Z is clear: b.ne goes back
    assert client.resume({1: LOOP}) == Stopped(1)
    assert (client.pc(1), client.x(1, 0), client.x(1, 1)) == (at(3), 5 if line != 1 else 4, 0)


@pytest.mark.parametrize(
    ("kind", "stop"),
    [(BreakpointKind.SOFTWARE, StopReason.SWBREAK), (BreakpointKind.HARDWARE, StopReason.HWBREAK)],
)
def test_a_breakpoint_in_a_loop_stops_in_each_lap(
    begin: Begin, kind: BreakpointKind, stop: StopReason
) -> None:
    client = begin(LOOPS)
    client.machine.vcpus[0].set(X[1], 3)
    client.target.insert(1, kind, at(1), 4)
    for lap in 1, 2, 3:
        assert client.resume({1: LOOP}) == Stopped(1, stop=stop)
        assert (client.pc(1), client.x(1, 0)) == (at(1), lap)
        client.step_over(1, kind, at(1), 4)
    assert client.resume({1: LOOP}) == Stopped(1)
    assert client.pc(1) == at(3)


def test_a_watchpoint_in_a_loop_stops_at_its_instruction(begin: Begin) -> None:
    client = begin(FILLS)
    client.machine.vcpus[0].set(X[0], DATA)
    client.machine.vcpus[0].set(X[1], 8)
    client.target.insert(1, BreakpointKind.WRITE, DATA + 24, 8)
    report = client.resume({1: LOOP})
    assert (report.stop, report.gva, client.pc(1)) == (StopReason.WATCH, DATA + 24, at(0))
    assert client.x(1, 0) == DATA + 24
    client.target.remove(1, BreakpointKind.WRITE, DATA + 24, 8)
    assert client.resume({1: LOOP}) == Stopped(1)
    assert (client.pc(1), client.x(1, 0), client.x(1, 1)) == (at(3), DATA + 64, 0)


def test_a_loop_with_more_ways_out_than_comparators_is_run_by_parts(
    begin: Begin, exits: Exits
) -> None:
    client = begin(LOOPS_WITH_EXITS)
    client.machine.vcpus[0].set(X[1], 3)
    client.machine.vcpus[0].set(X[2], 1)
    reported = exits(client)
    assert client.resume({1: Range(at(0), at(19))}) == Stopped(1)
    assert (client.pc(1), client.x(1, 0), client.x(1, 1)) == (at(19), 3, 0)
    assert 3 < len(reported) < 3 * 19


def test_a_loop_that_changes_itself_is_left_where_it_says(begin: Begin) -> None:
    client = begin(LOOPS_AND_PATCHES_ITSELF)
    client.machine.vcpus[0].set(X[0], at(0))
    client.machine.vcpus[0].set(X[1], 0x1400_0009)  # b . + 36
    assert client.resume({1: Range(at(0), at(8))}) == Stopped(1)
    assert (client.pc(1), client.x(1, 3)) == (at(9), 1)


def test_a_branch_that_another_vcpu_makes_a_nop_does_not_lead_past_the_end(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel changes a branch while others execute it, for a static key."""
    client = begin(LOOPS_BY_A_BRANCH)
    client.machine.vcpus[0].set(X[1], 5)
    resume = client.machine.resume

    def patch_and_resume(modes: Mapping[int, RunMode]) -> None:
        client.machine.write_memory(at(3), NOP.to_bytes(4, "little"))
        resume(modes)

    monkeypatch.setattr(client.machine, "resume", patch_and_resume)
    assert client.resume({1: Range(at(0), at(4))}) == Stopped(1)
    assert (client.pc(1), client.x(1, 0)) == (at(4), 1)


def test_a_guest_that_uses_its_own_comparators_keeps_them(begin: Begin, exits: Exits) -> None:
    client = begin(LOOPS)
    vcpu = client.machine.vcpus[0]
    vcpu.set(X[1], 10)
    vcpu.set(MDSCR_EL1, MDSCR.of(MDE=1))
    reported = exits(client)
    assert client.resume({1: LOOP}) == Stopped(1)
    assert (client.pc(1), client.x(1, 0)) == (at(3), 10)
    assert len(reported) == 30


def test_interrupt_masks_are_as_before_after_a_loop_that_is_cut_short(begin: Begin) -> None:
    client = begin(COUNT)
    vcpu = client.machine.vcpus[0]
    vcpu.set(CPSR, 0x305)
    for _ in range(20):
        client.interrupt_at_once()
        report = client.resume({1: Range(at(0), at(2))})
        assert report.signal in (Signal.INT, Signal.TRAP)
        assert at(0) <= client.pc(1) < at(2)
        assert vcpu.get(CPSR) & 0x3FF == 0x305


@pytest.mark.own_kvm
def test_a_fault_in_a_loop_ends_at_its_vector_as_a_step_does(start_kvm: Start) -> None:
    client = Client(start_kvm(FILLS).machine)
    vcpu = client.machine.vcpus[0]
    vcpu.set(SCTLR_EL1, SCTLR(vcpu.get(SCTLR_EL1)).replace(A=1))  # accesses must be aligned
    after = list[list[int]]()
    for action in (Action.STEP, LOOP):
        vcpu.set(VBAR_EL1, VECTORS)
        vcpu.set(X[0], DATA + 1)
        vcpu.set(X[1], 8)
        vcpu.set(PC, at(0))
        vcpu.set(CPSR, 0x305)
        assert client.resume({1: action}) == Stopped(1)
        rows = (PC, CPSR, ELR_EL1, SPSR_EL1, ESR_EL1)
        after.append([vcpu.get(row) for row in rows])
    assert after[0] == after[1]
    assert after[0][0] == VECTORS + 0x200
