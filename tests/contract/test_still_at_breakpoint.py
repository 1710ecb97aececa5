"""A breakpoint that was judged and not got past is not judged again; any other hit is."""

import pytest

from gdbstub.aarch64.registers import CPSR, X, stack_pointer
from gdbstub.aarch64.sysreg import EC, ESR, PSTATE
from gdbstub.agent import Clauses
from gdbstub.machine import DebugExit
from gdbstub.swbp import BRK, BRK_COMMENT
from gdbstub.target import Action, BreakpointKind, Resume, Stopped, StopReason
from tests.contract.backends import Factory
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.programs import COUNT, STRAIGHT, at
from tests.contract.spaces import ALIAS_GVA, ROUND, TEXT, USER_GVA, Spaces
from tests.contract.test_conditions import NEVER, SAYS_HI

HIT = {
    BreakpointKind.SOFTWARE: ESR.of(EC=EC.BRK64, IL=1, ISS=BRK_COMMENT),
    BreakpointKind.HARDWARE: ESR.of(EC=EC.BREAKPOINT_LOWER, IL=1),
}


def cut_short(client: Client, kind: BreakpointKind, monkeypatch: pytest.MonkeyPatch) -> None:
    """The vCPU meets a breakpoint where it is, and is parked while it is being passed over."""
    target = client.target
    with monkeypatch.context() as patch:
        patch.setattr(client.machine, "resume", lambda _: None)
        target.resume(Resume({1: Action.CONTINUE}))
        assert client.machine.listener.debug_exit(DebugExit(0, HIT[kind])) is not None
        client.machine.listener.parked(())
        target.take_report()


@pytest.fixture(
    params=[BreakpointKind.SOFTWARE, BreakpointKind.HARDWARE], ids=lambda kind: kind.name
)
def kind(request: pytest.FixtureRequest) -> BreakpointKind:
    chosen: BreakpointKind = request.param
    return chosen


def begin(start: Start, kind: BreakpointKind, clauses: Clauses) -> Client:
    client = Client(start(COUNT).machine)
    insert(client, kind, clauses)
    return client


def insert(client: Client, kind: BreakpointKind, clauses: Clauses) -> None:
    client.target.insert(1, kind, at(0), 4)
    client.target.attach(kind, at(0), clauses)


def test_what_was_cut_short_prints_once(
    start: Start, kind: BreakpointKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = begin(start, kind, SAYS_HI)
    client.target.insert(1, BreakpointKind.SOFTWARE, at(1), 4)
    cut_short(client, kind, monkeypatch)
    cut_short_again_before_it_is_met(client, monkeypatch)
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    assert (client.pc(1), client.x(1, 0)) == (at(1), 1)
    assert client.target.take_output() == b"hi\n"


def cut_short_again_before_it_is_met(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(client.machine, "resume", lambda _: None)
        client.target.resume(Resume({1: Action.CONTINUE}))
        client.machine.listener.parked(())
        client.target.take_report()


def test_what_was_cut_short_and_then_stepped_past_is_told_the_next_time(
    start: Start, kind: BreakpointKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = begin(start, kind, NEVER)
    cut_short(client, kind, monkeypatch)
    client.step_over(1, kind, at(0), 4)
    client.target.attach(kind, at(0), Clauses())
    assert client.go().thread == 1
    assert (client.pc(1), client.x(1, 0)) == (at(0), 1)


def test_what_was_cut_short_and_then_run_past_is_told_the_next_time(
    start: Start, kind: BreakpointKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vCPU has come back to the address while no breakpoint was inserted there."""
    client = begin(start, kind, NEVER)
    cut_short(client, kind, monkeypatch)
    client.target.remove(1, kind, at(0), 4)
    for _ in range(2):
        assert client.resume({1: Action.STEP}) == Stopped(1)
    insert(client, kind, Clauses())
    assert client.go().thread == 1
    assert (client.pc(1), client.x(1, 0)) == (at(0), 1)


def test_a_handler_that_comes_by_meanwhile_is_told_of(
    start: Start, kind: BreakpointKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt comes before what was judged is executed: its handler is deeper in the stack."""
    client = begin(start, kind, NEVER)
    cut_short(client, kind, monkeypatch)
    client.target.attach(kind, at(0), Clauses())
    stack = stack_pointer(PSTATE(client.machine.vcpus[0].get(CPSR)))
    client.machine.vcpus[0].set(stack, client.machine.vcpus[0].get(stack) - 0x100 & (1 << 64) - 1)
    assert client.go().thread == 1
    assert (client.pc(1), client.x(1, 0)) == (at(0), 0)


def test_what_was_cut_short_is_told_to_the_next_client(
    start: Start, kind: BreakpointKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = begin(start, kind, NEVER)
    cut_short(client, kind, monkeypatch)
    client.target.release()
    insert(client, kind, Clauses())
    assert client.go().thread == 1
    assert (client.pc(1), client.x(1, 0)) == (at(0), 0)


@pytest.mark.needs("reset")
def test_nothing_that_was_judged_outlives_its_guest(
    start: Start, kind: BreakpointKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = begin(start, kind, NEVER)
    cut_short(client, kind, monkeypatch)
    client.target.reset()
    insert(client, kind, Clauses())
    assert client.go().thread == 1
    assert (client.pc(1), client.x(1, 0)) == (at(0), 0)


#: ``const8 0; setv 1; end``, and ``getv 1; end``: one that never was set is an error, which holds.
SETS = Clauses.compile([bytes.fromhex("22002d000127")])
GETS = Clauses.compile([bytes.fromhex("2c000127")])


@pytest.mark.needs("reset")
def test_variables_of_conditions_begin_anew_with_each_guest(start: Start) -> None:
    client = Client(start(STRAIGHT).machine)
    for line in 1, 2, 3:
        client.target.insert(1, BreakpointKind.SOFTWARE, at(line), 4)
    client.target.attach(BreakpointKind.SOFTWARE, at(1), SETS)
    client.target.attach(BreakpointKind.SOFTWARE, at(2), GETS)
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    assert client.pc(1) == at(3)
    client.target.reset()
    client.target.remove(1, BreakpointKind.SOFTWARE, at(1), 4)
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    assert client.pc(1) == at(2)


def test_another_address_of_a_breakpoint_is_told_each_time_that_it_is_met(
    machine_factory: Factory,
) -> None:
    spaces = Spaces(machine_factory(ROUND.image))
    spaces.enter(ALIAS_GVA, spaces.a)
    spaces.insert(USER_GVA + 8)
    for times in range(1, 4):
        spaces.stops_at(ALIAS_GVA + 8, known=False)
        assert spaces.machine.vcpus[0].get(X[0]) == times
        spaces.remove(USER_GVA + 8)
        spaces.step()
        spaces.insert(USER_GVA + 8)


def test_another_address_that_was_told_of_is_passed_once(machine_factory: Factory) -> None:
    spaces = Spaces(machine_factory(ROUND.image))
    spaces.enter(ALIAS_GVA, spaces.a)
    spaces.insert(USER_GVA + 8)
    for times in range(1, 4):
        spaces.stops_at(ALIAS_GVA + 8, known=False)
        assert spaces.machine.vcpus[0].get(X[0]) == times
    assert spaces.word(TEXT + 8) == BRK
