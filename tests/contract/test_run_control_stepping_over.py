"""Stepping over a breakpoint that is not to stop leaves out that breakpoint, and nothing else."""

from collections.abc import Callable
from functools import partial

import pytest

from gdbstub.aarch64.registers import (
    CPSR,
    ELR_EL1,
    ID_AA64PFR1_EL1,
    PC,
    SCTLR_EL1,
    SYSTEM_REGISTERS,
    TCR_EL1,
    TTBR0_EL1,
    VBAR_EL1,
    X,
)
from gdbstub.aarch64.sysreg import EC, ID_AA64PFR1, PSTATE, SCTLR, TCR
from gdbstub.agent import Clauses
from gdbstub.debug.caches import Content
from gdbstub.machine import DebugExit, RunMode, Vcpu
from gdbstub.target import Action, BreakpointKind, Range, Stopped, StopReason
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.programs import (
    BASE,
    DATA,
    STORES,
    STRAIGHT,
    SYNC_EL1H,
    VECTORS,
    Program,
    at,
    program,
)
from tests.contract.run_control import (
    ALWAYS,
    HW,
    NEVER,
    SAYS_HI,
    STOPS,
    STORES_AND_WAITS,
    SW,
    X1_IS_3,
    put,
)
from tests.tables import AF, Tables

Begin = Callable[[Program], Client]

READ_ONLY = 0b10 << 6

KINDS = pytest.mark.parametrize("kind", [SW, HW])
ACTIONS = pytest.mark.parametrize(
    "action", [Action.CONTINUE, Action.STEP, Range(at(0), at(8))], ids=["continue", "step", "range"]
)


@pytest.fixture
def begin(start: Start) -> Begin:
    return lambda program: Client(start(program).machine)


# A watchpoint on what the instruction under a breakpoint accesses.


@KINDS
@ACTIONS
@pytest.mark.parametrize("clauses", [NEVER, SAYS_HI], ids=["condition", "command"])
def test_a_watchpoint_stops_under_a_breakpoint_that_does_not(
    begin: Begin, kind: BreakpointKind, action: Action | Range, clauses: Clauses
) -> None:
    client = begin(STORES)
    client.machine.vcpus[0].set(X[0], DATA + 8)
    client.machine.vcpus[0].set(PC, at(1))
    put(client, kind, at(1), clauses)
    client.target.insert(1, BreakpointKind.WRITE, DATA + 8, 8)
    report = client.resume({1: action})
    assert (report.stop, report.gva, client.pc(1)) == (StopReason.WATCH, DATA + 8, at(1))
    assert client.x(1, 0) == DATA + 8
    assert client.target.take_output() == (b"hi\n" if clauses.commands else b"")
    # It is stepped over without being met anew.
    client.step_over(1, BreakpointKind.WRITE, DATA + 8, 8)
    assert client.target.take_output() == b""


@KINDS
def test_a_watchpoint_stops_where_a_run_comes_to_such_a_breakpoint(
    begin: Begin, kind: BreakpointKind
) -> None:
    client = begin(STORES)
    client.machine.vcpus[0].set(X[0], DATA)
    for line in range(6):
        put(client, kind, at(line), NEVER) if line < client.machine.breakpoint_slots else None
    client.target.insert(1, BreakpointKind.ACCESS, DATA + 26, 2)
    for action in Action.CONTINUE, Range(at(0), at(8)):
        client.machine.vcpus[0].set(PC, at(0))
        client.machine.vcpus[0].set(X[0], DATA)
        report = client.resume({1: action})
        assert (report.stop, report.gva, client.pc(1)) == (StopReason.AWATCH, DATA + 26, at(3))


@KINDS
def test_an_access_beside_a_watchpoint_does_not_hide_a_breakpoint(
    begin: Begin, kind: BreakpointKind
) -> None:
    """Stepping over the former leaves out its comparator, and no breakpoint behind it."""
    client = begin(STORES)
    client.machine.vcpus[0].set(X[0], DATA)
    for n in range(1, client.machine.watchpoint_slots):
        client.target.insert(1, BreakpointKind.WRITE, DATA + 0x1000 * n, 8)
    client.target.insert(1, BreakpointKind.WRITE, DATA + 9, 0x17)
    put(client, kind, at(0), NEVER)
    put(client, kind, at(1), ALWAYS)
    assert client.go() == Stopped(1, stop=STOPS[kind])
    assert client.pc(1) == at(1)


# Several breakpoints at one address.


@pytest.mark.parametrize("line", [1, 2, 3])
@pytest.mark.parametrize("clauses", [NEVER, SAYS_HI], ids=["condition", "command"])
@pytest.mark.parametrize(("silent", "loud"), [(HW, SW), (SW, HW)], ids=["hbreak", "break"])
@pytest.mark.parametrize("condition", [None, ALWAYS], ids=["plain", "true"])
def test_one_of_two_breakpoints_at_an_address_stops_if_the_other_does_not(
    begin: Begin,
    line: int,
    clauses: Clauses,
    silent: BreakpointKind,
    loud: BreakpointKind,
    condition: Clauses | None,
) -> None:
    client = begin(STRAIGHT)
    put(client, silent, at(line), clauses)
    put(client, loud, at(line), condition)
    assert client.go() == Stopped(1, stop=STOPS[loud])
    assert client.pc(1) == at(line)
    assert client.target.take_output() in ((b"hi\n", b"") if clauses.commands else (b"",))


def test_a_program_of_stores_stops_by_each_of_two_breakpoints_at_an_address(begin: Begin) -> None:
    """An instruction that has to be executed to be stepped over."""
    for silent, loud in ((HW, SW), (SW, HW)):
        client = begin(STORES)
        client.machine.vcpus[0].set(X[0], DATA)
        put(client, silent, at(1), NEVER)
        put(client, loud, at(1))
        assert client.go() == Stopped(1, stop=STOPS[loud])
        assert (client.pc(1), client.x(1, 0)) == (at(1), DATA + 8)


def test_two_breakpoints_at_an_address_that_do_not_stop_are_each_asked_once(begin: Begin) -> None:
    client = begin(STRAIGHT)
    for kind in SW, HW:
        put(client, kind, at(1), SAYS_HI)
    put(client, HW, at(4))
    assert client.go() == Stopped(1, stop=StopReason.HWBREAK)
    assert client.pc(1) == at(4)
    assert client.target.take_output() == b"hi\nhi\n"


def test_two_breakpoints_on_a_store_are_each_asked_once(begin: Begin) -> None:
    client = begin(STORES)
    client.machine.vcpus[0].set(X[0], DATA)
    for kind in SW, HW:
        put(client, kind, at(1), SAYS_HI)
    put(client, HW, at(4))
    assert client.go() == Stopped(1, stop=StopReason.HWBREAK)
    assert (client.pc(1), client.x(1, 0)) == (at(4), DATA + 32)
    assert client.target.take_output() == b"hi\nhi\n"


# Waits.


def _exits(client: Client, monkeypatch: pytest.MonkeyPatch) -> list[DebugExit]:
    exits: list[DebugExit] = []
    listener = client.machine.listener
    debug_exit = listener.debug_exit

    def note(exit: DebugExit) -> RunMode | None:
        exits.append(exit)
        return debug_exit(exit)

    monkeypatch.setattr(listener, "debug_exit", note)
    return exits


@pytest.mark.parametrize("kinds", [(SW, SW), (HW, SW), (SW, HW)])
def test_a_wait_under_a_breakpoint_is_not_executed(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, kinds: tuple[BreakpointKind, BreakpointKind]
) -> None:
    """KVM may block in it, with every other vCPU held outside the guest."""
    client = begin(STORES_AND_WAITS)
    client.machine.vcpus[0].set(X[0], DATA)
    put(client, kinds[0], at(0), NEVER)
    put(client, kinds[1], at(1), NEVER)
    put(client, kinds[1], at(2), NEVER)
    put(client, HW, at(4))
    exits = _exits(client, monkeypatch)
    assert client.go() == Stopped(1, stop=StopReason.HWBREAK)
    assert client.pc(1) == at(4)
    assert [exit.esr.EC == EC.STEP_LOWER for exit in exits].count(True) == 1, "the store alone"


@pytest.mark.parametrize(("line", "other"), [(1, "nTWE"), (2, "nTWI")], ids=["wfi", "wfe"])
def test_a_wait_of_a_program_is_not_executed_if_its_kernel_permits_it(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, line: int, other: str
) -> None:
    """A kernel has WFI and WFE at EL0 trapped each by a bit of its own."""
    client = begin(STORES_AND_WAITS)
    vcpu = client.machine.vcpus[0]
    both = SCTLR(vcpu.get(SCTLR_EL1)).replace(nTWI=1, nTWE=1)
    vcpu.set(SCTLR_EL1, both.replace(**{other: 0}))
    vcpu.set(CPSR, 0x3C0)
    vcpu.set(PC, at(line))
    put(client, SW, at(line), NEVER)
    put(client, HW, at(line + 1))
    exits = _exits(client, monkeypatch)
    assert client.go() == Stopped(1, stop=StopReason.HWBREAK)
    assert client.pc(1) == at(line + 1)
    assert EC.STEP_LOWER not in [exit.esr.EC for exit in exits]


def test_an_access_beside_two_watchpoints_is_passed_over_though_its_bytes_are_not_known(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has one comparator, which watches 8 KiB; the store is where the two meet."""
    monkeypatch.setattr("gdbstub.debug.stop_reasons.accessed", lambda *_: None)  # as of SVE
    client = begin(program((0xA9000801, "stp x1, x2, [x0]"), (0x14000000, "b .")))
    watch = partial(client.target.insert, 1, BreakpointKind.WRITE)
    for n in range(2, client.machine.watchpoint_slots):
        watch(DATA + 0x8000 + 0x100 * n, 8)
    watch(DATA, 0x1008)
    watch(DATA + 0x2FF8, 0x1008)
    client.machine.vcpus[0].set(X[0], DATA + 0x1FF8)
    put(client, SW, at(1))
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)


def branched_to(client: Client, attributes: int) -> Vcpu:
    """Have the guest be at its WFI by a BLR, with its MMU on and these *attributes* of its text."""
    vcpu = client.machine.vcpus[0]
    tables = Tables(base=BASE + 0x10_0000)
    for gva in BASE, VECTORS:
        tables.map(gva, gva, 3, AF | READ_ONLY | attributes)
    for ipa, data in tables.content().items():
        client.machine.write_memory(ipa, data)
    vcpu.set(SYSTEM_REGISTERS["MAIR_EL1"], 0xFF)
    vcpu.set(TCR_EL1, TCR.of(**tables.tcr()))
    vcpu.set(TTBR0_EL1, tables.ttbr)
    vcpu.set(VBAR_EL1, VECTORS)
    vcpu.set(SCTLR_EL1, SCTLR(vcpu.get(SCTLR_EL1)).replace(M=1))
    vcpu.set(CPSR, PSTATE(0x3C5).replace(BTYPE=0b10))
    vcpu.set(PC, at(1))
    client.target.caches.invalidate(Content.REGISTER_WRITTEN)
    return vcpu


@pytest.mark.parametrize("action", [Action.CONTINUE, Action.STEP], ids=["continue", "step"])
def test_a_wait_that_was_branched_to_is_not_executed(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, action: Action
) -> None:
    """Each BLR sets PSTATE.BTYPE, whatever page it leads to."""
    client = begin(STORES_AND_WAITS)
    vcpu = branched_to(client, 0)
    if action is Action.CONTINUE:
        put(client, SW, at(1), NEVER)
        put(client, SW, at(2))
    exits = _exits(client, monkeypatch)
    client.resume({1: action})
    assert client.pc(1) == at(2)
    assert PSTATE(vcpu.get(CPSR)).BTYPE == 0
    assert EC.STEP_LOWER not in [exit.esr.EC for exit in exits]


@pytest.mark.own_kvm
@pytest.mark.parametrize("action", [Action.CONTINUE, Action.STEP], ids=["continue", "step"])
def test_in_a_guarded_page_a_wait_that_was_branched_to_is_an_exception(
    start_kvm: Start, action: Action
) -> None:
    client = Client(start_kvm(STORES_AND_WAITS).machine)
    vcpu = branched_to(client, 1 << 50)
    has_bti = ID_AA64PFR1(vcpu.get(ID_AA64PFR1_EL1)).BT
    if action is Action.CONTINUE:
        put(client, SW, at(1), NEVER)
        put(client, SW, at(2))
        put(client, HW, SYNC_EL1H)
    client.resume({1: action})
    assert client.pc(1) == (SYNC_EL1H if has_bti else at(2))


def test_a_wait_under_a_breakpoint_is_not_executed_by_steps(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = begin(STORES_AND_WAITS)
    client.machine.vcpus[0].set(X[0], DATA)
    for line in range(3):
        put(client, SW, at(line), NEVER)
    exits = _exits(client, monkeypatch)
    for line in range(1, 4):
        assert client.resume({1: Action.STEP}) == Stopped(1)
        assert client.pc(1) == at(line)
    assert [exit.esr.EC == EC.STEP_LOWER for exit in exits].count(True) == 1, "the store alone"


# An instruction that is not to be simulated.


@pytest.mark.parametrize("line", [2, 3], ids=["nop", "mov"])
@ACTIONS
def test_an_illegal_execution_state_is_not_simulated_away(
    begin: Begin, line: int, action: Action | Range
) -> None:
    client = begin(STRAIGHT)
    vcpu = client.machine.vcpus[0]
    vcpu.set(VBAR_EL1, VECTORS)
    vcpu.set(PC, at(line))
    vcpu.set(CPSR, PSTATE(vcpu.get(CPSR)).replace(IL=1))
    put(client, HW, at(line), NEVER)
    put(client, SW, SYNC_EL1H)
    report = client.resume({1: action})
    assert report.stop in (StopReason.PLAIN, StopReason.SWBREAK)
    assert (client.pc(1), vcpu.get(ELR_EL1)) == (SYNC_EL1H, at(line))


def test_a_condition_is_asked_of_the_registers_at_its_own_address(begin: Begin) -> None:
    client = begin(STRAIGHT)
    client.machine.vcpus[0].set(X[1], 3)
    put(client, SW, at(1), NEVER)
    put(client, HW, at(1), X1_IS_3)
    put(client, SW, at(4))
    assert client.go() == Stopped(1, stop=StopReason.HWBREAK)
    assert client.pc(1) == at(1)
