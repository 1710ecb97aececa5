"""The debugger's states: every event in every state, driven over the fake machine."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Final

import pytest

from gdbstub.debug.debugger import Debugger
from gdbstub.debug.run_state import TRANSITIONS, RunEvent, RunState
from gdbstub.errors import MachineError
from gdbstub.machine import Exit, SystemEvent, SystemEventKind
from gdbstub.states import IllegalTransition
from gdbstub.target import Action, Exited, Resume, Signal, Stopped
from tests.contract.programs import SPIN
from tests.fakes.machine import FakeMachine, fake_machine

CONTINUE: Final = Resume({1: Action.CONTINUE})
REBOOT: Final = SystemEvent(0, SystemEventKind.RESET)
SHUTDOWN: Final = SystemEvent(0, SystemEventKind.SHUTDOWN)

#: The events that lead to each state from the first one.
WAYS: Final[dict[RunState, tuple[RunEvent, ...]]] = {
    RunState.HALTED: (),
    RunState.RUNNING: (RunEvent.RESUME,),
    RunState.DETACHING: (RunEvent.RESUME, RunEvent.RELEASE),
    RunState.REATTACHING: (RunEvent.RESUME, RunEvent.RELEASE, RunEvent.INTERRUPT),
    RunState.DETACHED: (RunEvent.DETACH,),
    RunState.ENDING: (RunEvent.RESUME, RunEvent.KILL),
    RunState.EXITED: (RunEvent.KILL,),
}
UNDER_WAY: Final = WAYS.keys() - {RunState.HALTED, RunState.EXITED}
#: The event that begins a run which fails, by the state that it would have led to.
FAILS: Final = {RunState.RUNNING: RunEvent.RESUME, RunState.DETACHED: RunEvent.DETACH}


class Driver:
    """A debugger of a machine that runs nothing: its vCPUs are parked when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.machine: FakeMachine = fake_machine(SPIN.image)
        self.debugger = Debugger(self.machine)
        self.runs = 0
        self.fails = False
        monkeypatch.setattr(self.machine, "resume", self._resume)

    def _resume(self, _: object) -> None:
        if self.fails:
            raise MachineError("it has failed")
        self.runs += 1

    def drive(self, event: RunEvent) -> object:
        debugger = self.debugger
        calls: dict[RunEvent, Callable[[], object]] = {
            RunEvent.RESUME: lambda: debugger.resume(CONTINUE),
            RunEvent.INTERRUPT: debugger.interrupt,
            RunEvent.DETACH: debugger.detach,
            RunEvent.RELEASE: debugger.release,
            RunEvent.KILL: debugger.kill,
            RunEvent.RESET: debugger.reset,
            RunEvent.STOPPED: lambda: self._park([]),
            RunEvent.REBOOTED: lambda: self._park([REBOOT]),
            RunEvent.ENDED: lambda: self._park([SHUTDOWN]),
        }
        return calls[event]()

    def _park(self, exits: Sequence[Exit]) -> object:
        self.machine.listener.parked(exits)
        return self.debugger.take_report()

    def reach(self, state: RunState) -> None:
        for event in WAYS[state]:
            self.drive(event)
        assert self.debugger.state is state


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    return Driver(monkeypatch)


@pytest.mark.parametrize(
    ("state", "event"),
    [
        pair
        for pair in product(RunState, RunEvent)
        if pair[1] is not RunEvent.FAILED and pair[0] is not RunState.ENDING
    ],
)
def test_every_event_in_every_state(driver: Driver, state: RunState, event: RunEvent) -> None:
    driver.reach(state)
    after = TRANSITIONS.rows.get((state, event))
    if after is None:
        with pytest.raises(IllegalTransition):
            driver.drive(event)
        assert driver.debugger.state is state
        return
    runs = driver.runs
    driver.drive(event)
    assert driver.debugger.state is after
    assert driver.debugger.running is (after in UNDER_WAY)
    assert isinstance(driver.debugger.report(), Exited) is (
        after in (RunState.ENDING, RunState.EXITED)
    )
    # It is set going where it goes on, and nowhere else.
    goes_on = after is RunState.DETACHED or event is RunEvent.RESUME
    assert driver.runs - runs == goes_on


@pytest.mark.parametrize("event", [e for e in RunEvent if e is not RunEvent.FAILED])
def test_a_guest_that_is_being_ended_ends_whatever_parks_it(
    driver: Driver, event: RunEvent
) -> None:
    driver.reach(RunState.ENDING)
    if event in (RunEvent.RESUME, RunEvent.RESET):
        with pytest.raises(IllegalTransition):
            driver.drive(event)
    elif event in (RunEvent.STOPPED, RunEvent.REBOOTED, RunEvent.ENDED):
        assert driver.drive(event) == Exited()
        assert driver.debugger.state is RunState.EXITED
        return
    else:
        driver.drive(event)
    assert driver.debugger.state is RunState.ENDING


@pytest.mark.parametrize("state", FAILS)
def test_a_run_that_fails_leaves_the_guest_halted(driver: Driver, state: RunState) -> None:
    driver.fails = True
    with pytest.raises(MachineError):
        driver.drive(FAILS[state])
    assert driver.debugger.state is TRANSITIONS.after(state, RunEvent.FAILED)
    driver.fails = False
    driver.drive(RunEvent.RESUME)
    assert driver.drive(RunEvent.STOPPED) == Stopped(1, Signal.INT)


def test_a_reset_that_fails_ends_the_guest(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guest cannot run any more: a client that resumes it must not wait for ever."""
    driver.reach(RunState.RUNNING)
    monkeypatch.setattr(driver.debugger._control, "_start_over", _refuse)
    assert driver.drive(RunEvent.REBOOTED) == Exited(1)
    assert driver.debugger.state is RunState.EXITED


def test_breakpoints_that_cannot_be_removed_do_not_keep_a_guest_from_running(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.reach(RunState.DETACHING)
    with monkeypatch.context() as patch:
        patch.setattr(driver.debugger.breakpoints, "remove_all", _refuse)
        assert driver.drive(RunEvent.STOPPED) is None
    assert driver.debugger.state is RunState.DETACHED


def _refuse(*_: object) -> None:
    raise MachineError("broken")


def test_a_guest_that_stopped_by_itself_while_alone_is_the_next_clients(driver: Driver) -> None:
    """Also where it resets itself then: the client hears of it."""
    driver.reach(RunState.DETACHED)
    assert isinstance(driver.drive(RunEvent.STOPPED), Stopped)
    driver.drive(RunEvent.RESUME)
    assert driver.drive(RunEvent.REBOOTED) == Stopped(1)
    assert driver.debugger.state is RunState.HALTED


def test_the_table_has_a_way_into_and_out_of_every_state() -> None:
    assert {state for state, _ in TRANSITIONS.rows} == set(RunState)
    assert set(TRANSITIONS.rows.values()) == set(RunState)
    assert {event for _, event in TRANSITIONS.rows} == set(RunEvent)
