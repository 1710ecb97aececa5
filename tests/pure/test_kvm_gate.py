"""The gate on the way into the guest, with vCPUs that are threads of this process."""

import threading
from collections.abc import Callable

import pytest

from gdbstub.kvm.exclusive import Gate, Passer

_BOUND = 10.0  # seconds


class Vcpu:
    """Runs round between the gate and a guest that it stays in until it is nudged."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.in_guest = False
        self.stopping = False
        self.absent = False
        self.nudged = threading.Event()
        self.entered = threading.Semaphore(0)
        self.thread = threading.Thread(target=self._life, daemon=True)

    def nudge(self) -> None:
        self.nudged.set()

    def kick(self) -> None:
        self.stopping = True
        self.nudge()
        self.gate.look_again()

    def _life(self) -> None:
        while not self.stopping:
            self.in_guest = True
            while self.gate.holder not in (None, self) and not self.stopping:
                self.in_guest = False
                self.gate.wait(self)
                self.nudged.clear()
                self.in_guest = True
            if not self.stopping:
                self.entered.release()
                self.nudged.wait(_BOUND)
                self.nudged.clear()
            self.in_guest = False
            self.gate.came_back(self)


@pytest.fixture
def gate() -> Gate:
    return Gate()


def test_a_hold_waits_until_the_others_are_out_and_keeps_them_out(gate: Gate) -> None:
    holder, sibling = Vcpu(gate), Vcpu(gate)
    sibling.thread.start()
    assert sibling.entered.acquire(timeout=_BOUND)
    assert gate.hold(holder, [holder, sibling])
    assert not sibling.in_guest
    assert not sibling.entered.acquire(blocking=False)
    gate.let_go(holder)
    assert sibling.entered.acquire(timeout=_BOUND), "it goes on"
    sibling.kick()
    sibling.thread.join(_BOUND)
    assert not sibling.thread.is_alive()


def test_who_is_to_park_holds_nothing(gate: Gate) -> None:
    holder = Vcpu(gate)
    holder.stopping = True
    assert not gate.hold(holder, [holder])
    assert gate.holder is None


def test_who_waits_for_a_hold_is_let_out_to_park(gate: Gate) -> None:
    first, second = Vcpu(gate), Vcpu(gate)
    assert gate.hold(first, [first, second])
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(gate.hold(second, [first, second])))
    waiting.start()
    second.stopping = True
    gate.look_again()
    waiting.join(_BOUND)
    assert answers == [False]
    assert gate.holder is first


class Observed(Gate):
    """Says when somebody waits: from then on until ``let_go``, which needs the same lock."""

    def __init__(self) -> None:
        super().__init__()
        self.awaited = threading.Event()

    def _wait(self, passer: Passer, ready: Callable[[], bool], *, absent: bool = False) -> None:
        self.awaited.set()
        super()._wait(passer, ready, absent=absent)


def test_who_waited_is_owed_a_turn_until_it_was_in_the_guest() -> None:
    gate = Observed()
    first, second = Vcpu(gate), Vcpu(gate)
    assert gate.hold(first, [first, second])
    gate.awaited.clear()
    second.thread.start()
    assert gate.awaited.wait(_BOUND)
    gate.let_go(first)
    assert gate.owed == {second}
    assert second.entered.acquire(timeout=_BOUND)
    second.kick()
    second.thread.join(_BOUND)
    assert gate.owed == set()


def _wait_out_a_hold(gate: Observed, waiter: Vcpu) -> None:
    """Somebody holds it, and *waiter* comes there meanwhile."""
    first = Vcpu(gate)
    assert gate.hold(first, [first, waiter])
    gate.awaited.clear()
    waiter.thread.start()
    assert gate.awaited.wait(_BOUND)
    gate.let_go(first)


def test_who_sleeps_in_the_guest_is_owed_nothing() -> None:
    """Else who holds it again would wait in vain for its turn to be over."""
    gate = Observed()
    off = Vcpu(gate)
    off.absent = True
    _wait_out_a_hold(gate, off)
    assert gate.owed == set()
    assert off.entered.acquire(timeout=_BOUND), "it goes on all the same"
    off.kick()
    off.thread.join(_BOUND)


def test_who_parks_is_owed_nothing_and_holds_nothing() -> None:
    gate = Observed()
    second = Vcpu(gate)
    _wait_out_a_hold(gate, second)
    assert gate.owed == {second}
    gate.parks(second)
    assert gate.owed == set()
    assert second.entered.acquire(timeout=_BOUND)
    second.kick()
    second.thread.join(_BOUND)
    assert gate.hold(second, [second]) is False
    second.stopping = False
    assert gate.hold(second, [second])
    gate.parks(second)
    assert gate.holder is None
