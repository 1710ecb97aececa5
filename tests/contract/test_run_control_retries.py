"""A step of a store-exclusive on whose word a watchpoint has stopped: it is tried again, or not."""

from collections.abc import Callable

import pytest

from gdbstub.aarch64.registers import CPSR, ELR_EL1, ESR_EL1, PC, SCTLR_EL1, VBAR_EL1, X
from gdbstub.aarch64.sysreg import ESR, SCTLR
from gdbstub.agent import Clauses
from gdbstub.debug.caches import Content
from gdbstub.target import Action, BreakpointKind, Range, Stopped, StopReason
from tests.contract.backends import Backend
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.programs import BASE, DATA, VECTORS, Program, at
from tests.contract.retries import (
    CASES_WEAKLY,
    JUMPS_INTO_IT,
    KEEPS_THE_STATUS,
    STORES_BETWEEN,
    TRIES_BEHIND_A_BARRIER,
    TRIES_BY_FLAGS,
    TRIES_IN_A_FUNCTION,
    TRIES_THE_NEXT,
)
from tests.contract.run_control import ADDS_FIVE_TIMES, HW, NEVER, SW, TRIES_FROM_AFAR, put

Begin = Callable[[Program], Client]

STORE = 4
SERROR = VECTORS + 0x380
#: ``reg 5; const8 1; equal; end``.
X5_IS_1 = Clauses.compile([bytes.fromhex("26000522011327")])
NOPS_AND_LOOP = 8 * bytes.fromhex("1f2003d5") + bytes.fromhex("00000014")


@pytest.fixture
def stopped(start: Start) -> Client:
    """A guest at its store-exclusive, of which a watchpoint has told that is gone now."""
    client = Client(start(ADDS_FIVE_TIMES).machine)
    client.machine.vcpus[0].set(VBAR_EL1, VECTORS)
    client.machine.write_memory(SERROR, NOPS_AND_LOOP)
    client.target.insert(1, BreakpointKind.WRITE, DATA, 4)
    assert (client.go().stop, client.pc(1)) == (StopReason.WATCH, at(STORE))
    client.target.remove(1, BreakpointKind.WRITE, DATA, 4)
    return client


def test_an_serror_before_it_ends_the_step_at_its_vector(stopped: Client, backend: Backend) -> None:
    """A status register of 1 is that of an earlier try."""
    vcpu = stopped.machine.vcpus[0]
    vcpu.set(X[2], 1)
    vcpu.set(CPSR, 0x205)
    backend.pend_serror(stopped.machine)
    assert stopped.resume({1: Action.STEP}) == Stopped(1)
    assert stopped.pc(1) == SERROR
    assert stopped.machine.read_memory(DATA, 4) == bytes(4)


@pytest.mark.parametrize("action", [Action.CONTINUE, Range(BASE, at(9))])
def test_a_later_stop_at_it_is_none_of_the_watchpoint(
    stopped: Client, action: Action | Range
) -> None:
    """The step fails, as any store-exclusive does behind a stop, and is one instruction."""
    put(stopped, HW, at(STORE))
    for _ in range(2):
        assert stopped.resume({1: action}).stop is StopReason.HWBREAK
        assert stopped.pc(1) == at(STORE)
    stopped.target.remove(1, HW, at(STORE), 4)
    before = stopped.machine.read_memory(DATA, 4)
    assert stopped.resume({1: Action.STEP}) == Stopped(1)
    assert (stopped.pc(1), stopped.x(1, 2)) == (at(STORE + 1), 1)
    assert stopped.machine.read_memory(DATA, 4) == before


# Sequences that are tried again in other ways than by a branch behind the store.


def _off_the_watchpoint(client: Client) -> None:
    """Take the watchpoint back, step, and ask for it again, as a client does before it goes on."""
    client.step_over(1, BreakpointKind.WRITE, DATA, 4)


@pytest.mark.parametrize("false", [None, SW, HW], ids=["no breakpoint", "software", "hardware"])
@pytest.mark.parametrize(
    ("tried", "line", "end"),
    [
        (CASES_WEAKLY, 6, 10), (TRIES_BY_FLAGS, 3, 6), (TRIES_IN_A_FUNCTION, 8, 4),
        (TRIES_FROM_AFAR, 3, 9), (TRIES_BEHIND_A_BARRIER, 3, 6), (KEEPS_THE_STATUS, 3, 6),
    ],
    ids=["weak swap", "flags", "function", "far", "barrier", "status kept"],
)  # fmt: skip
def test_a_guest_gets_past_a_watchpoint_on_its_word(
    start: Start, tried: Program, line: int, end: int, false: BreakpointKind | None
) -> None:
    client = Client(start(tried).machine)
    client.machine.write_memory(DATA, bytes(4))
    if false is not None:  # on the store, with a condition that does not hold
        put(client, false, at(line), NEVER)
    put(client, HW, at(end))
    client.target.insert(1, BreakpointKind.WRITE, DATA, 4)
    assert (client.go().stop, client.pc(1)) == (StopReason.WATCH, at(line))
    _off_the_watchpoint(client)
    assert (client.pc(1), client.machine.read_memory(DATA, 1)) == (at(line + 1), b"\x01")
    assert client.go() == Stopped(1, stop=StopReason.HWBREAK)
    assert client.machine.read_memory(DATA, 1) == b"\x01"


@pytest.mark.parametrize("kind", [BreakpointKind.READ, BreakpointKind.ACCESS])
def test_a_guest_gets_past_a_watchpoint_on_its_load(start: Start, kind: BreakpointKind) -> None:
    """The step from the load is the whole sequence: it would be in vain otherwise."""
    client = Client(start(TRIES_BY_FLAGS).machine)
    client.machine.write_memory(DATA, bytes(4))
    put(client, HW, at(6))
    client.target.insert(1, kind, DATA, 4)
    assert client.go().stop in (StopReason.RWATCH, StopReason.AWATCH)
    assert client.pc(1) == at(1)
    client.target.remove(1, kind, DATA, 4)
    assert client.resume({1: Action.STEP}) == Stopped(1)
    assert (client.pc(1), client.machine.read_memory(DATA, 1)) == (at(4), b"\x01")
    client.target.insert(1, kind, DATA, 4)
    assert client.go() == Stopped(1, stop=StopReason.HWBREAK)
    assert client.machine.read_memory(DATA, 1) == b"\x01"


def test_what_leads_nowhere_is_not_executed_ahead(start: Start) -> None:
    """Behind the store there is another one: it is executed once, when the guest goes on."""
    client = Client(start(TRIES_BY_FLAGS).machine)
    client.machine.write_memory(DATA, bytes(4))
    client.machine.write_memory(at(5), (0xB9000402).to_bytes(4, "little"))  # str w2, [x0, #4]
    client.target.insert(1, BreakpointKind.WRITE, DATA, 4)
    assert (client.go().stop, client.pc(1)) == (StopReason.WATCH, at(3))
    flags = client.machine.vcpus[0].get(CPSR)
    _off_the_watchpoint(client)
    assert (client.pc(1), client.x(1, 2)) == (at(4), 1)
    assert client.machine.vcpus[0].get(CPSR) == flags
    assert client.machine.read_memory(DATA, 8) == bytes(8)


def test_a_way_that_leads_to_another_word_is_undone(start: Start) -> None:
    """Both words are watched, and both watchpoints are off while the client steps."""
    client = Client(start(TRIES_THE_NEXT).machine)
    client.machine.write_memory(DATA, bytes(16))
    client.target.insert(1, BreakpointKind.WRITE, DATA, 16)
    assert (client.go().stop, client.pc(1)) == (StopReason.WATCH, at(3))
    client.step_over(1, BreakpointKind.WRITE, DATA, 16)
    assert (client.pc(1), client.x(1, 0), client.x(1, 2)) == (at(4), DATA, 1)
    assert client.machine.read_memory(DATA, 16) == bytes(16)
    report = client.go()
    assert (report.stop, report.gva, client.pc(1)) == (StopReason.WATCH, DATA + 8, at(3))


@pytest.mark.own_kvm
def test_a_fault_on_the_way_ends_the_step_at_its_vector(start_kvm: Start) -> None:
    """Instructions that were executed ahead stay executed behind an exception."""
    client = Client(start_kvm(CASES_WEAKLY).machine)
    vcpu = client.machine.vcpus[0]
    client.machine.write_memory(DATA, bytes(4))
    client.machine.write_memory(at(1), (0xB94000E1).to_bytes(4, "little"))  # ldr w1, [x7]
    state = {
        SCTLR_EL1: SCTLR(vcpu.get(SCTLR_EL1)).replace(A=1), VBAR_EL1: VECTORS, PC: at(2),
        X[0]: DATA, X[1]: 0, X[5]: 7, X[7]: DATA + 0x101, CPSR: vcpu.get(CPSR),
    }  # fmt: skip
    client.target.insert(1, BreakpointKind.WRITE, DATA, 4)
    put(client, HW, VECTORS + 0x200)
    while True:
        for register, value in state.items():
            vcpu.set(register, value)
        client.target.caches.invalidate(Content.REGISTER_WRITTEN)
        if client.go().stop is StopReason.WATCH:
            break
        # The host has interrupted the sequence: its store was not done, and the fault has come.
        assert client.pc(1) == VECTORS + 0x200
    assert client.pc(1) == at(6)
    client.target.remove(1, BreakpointKind.WRITE, DATA, 4)
    assert client.resume({1: Action.STEP}) == Stopped(1)
    assert (client.pc(1), vcpu.get(ELR_EL1), client.x(1, 5)) == (VECTORS + 0x200, at(1), 0)
    assert ESR(vcpu.get(ESR_EL1)).EC == 0x25  # a data abort


@pytest.mark.parametrize("action", [Action.CONTINUE, Range(at(0), at(5))], ids=["go", "range"])
@pytest.mark.parametrize("false", [True, False])
def test_a_store_within_a_sequence_is_watched_beside_the_bytes_of_its_load(
    start: Start, action: Action | Range, false: bool
) -> None:
    """One comparator watches more than was asked for, the load's word too."""
    client = Client(start(STORES_BETWEEN).machine)
    slots = client.machine.watchpoint_slots
    for number in range(1, slots):
        client.target.insert(1, BreakpointKind.WRITE, DATA + 0x1000 + 0x100 * number, 8)
    client.target.insert(1, BreakpointKind.ACCESS, DATA + 0x101, 0x3B)
    vcpu = client.machine.vcpus[0]
    vcpu.set(X[0], DATA + 0x13C)
    vcpu.set(X[3], DATA + 0x110)
    if false:
        put(client, SW, at(0), NEVER)
    put(client, SW, at(5))
    report = client.resume({1: action})
    assert (report.stop, report.gva, client.pc(1)) == (StopReason.AWATCH, DATA + 0x110, at(2))


def test_a_breakpoint_within_a_sequence_that_is_entered_there_is_hit(start: Start) -> None:
    """Every comparator is in use, so one in a sequence may have to make room for its load."""
    client = Client(start(JUMPS_INTO_IT).machine)
    client.machine.vcpus[0].set(X[0], DATA)
    put(client, HW, at(3), X5_IS_1)
    for number in range(1, client.machine.breakpoint_slots):
        put(client, HW, DATA + 0x100 + 4 * number)
    assert client.go() == Stopped(1, stop=StopReason.HWBREAK)
    assert (client.pc(1), client.x(1, 5)) == (at(3), 1)
