"""A step of a store-exclusive on whose word a watchpoint has stopped: it is tried again, or not."""

from collections.abc import Callable

import pytest

from gdbstub.aarch64.registers import CPSR, VBAR_EL1, X
from gdbstub.target import Action, BreakpointKind, Range, Stopped, StopReason
from tests.contract.backends import Backend
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.programs import BASE, DATA, VECTORS, Program, at
from tests.contract.run_control import ADDS_FIVE_TIMES, HW, put

Begin = Callable[[Program], Client]

STORE = 4
SERROR = VECTORS + 0x380
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
