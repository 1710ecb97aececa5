"""Exclusive sections, with vCPUs that are threads of this process."""

import threading
from collections.abc import Callable

import pytest

from gdbstub.kvm.exclusive import ExclusiveSection, ExclusiveVcpu
from tests.bounds import HANGS


class Vcpu:
    """Enters the guest again and again, and stays in it until it is kicked."""

    def __init__(self, exclusive: ExclusiveSection) -> None:
        self.exclusive = exclusive
        self.in_guest = False
        self.stopping = False
        self.powered_off = False
        self.kicked = threading.Event()
        self.entered = threading.Semaphore(0)
        self.thread = threading.Thread(target=self._life, daemon=True)

    def kick(self) -> None:
        self.kicked.set()

    def stop(self) -> None:
        self.stopping = True
        self.kick()
        self.exclusive.wake()

    def _life(self) -> None:
        while not self.stopping:
            self.in_guest = True
            while self.exclusive.holder not in (None, self) and not self.stopping:
                self.in_guest = False
                self.exclusive.wait(self)
                self.kicked.clear()
                self.in_guest = True
            if not self.stopping:
                self.entered.release()
                self.kicked.wait(HANGS)
                self.kicked.clear()
            self.in_guest = False
            self.exclusive.left_guest(self)


@pytest.fixture
def exclusive() -> ExclusiveSection:
    return ExclusiveSection()


def test_a_section_starts_when_the_others_are_out_and_keeps_them_out(
    exclusive: ExclusiveSection,
) -> None:
    holder, sibling = Vcpu(exclusive), Vcpu(exclusive)
    sibling.thread.start()
    assert sibling.entered.acquire(timeout=HANGS)
    assert exclusive.start_exclusive(holder, [holder, sibling])
    assert not sibling.in_guest
    assert not sibling.entered.acquire(blocking=False)
    exclusive.end_exclusive(holder)
    assert sibling.entered.acquire(timeout=HANGS), "it goes on"
    sibling.stop()
    sibling.thread.join(HANGS)
    assert not sibling.thread.is_alive()


def test_who_is_to_park_holds_nothing(exclusive: ExclusiveSection) -> None:
    holder = Vcpu(exclusive)
    holder.stopping = True
    assert not exclusive.start_exclusive(holder, [holder])
    assert exclusive.holder is None


def test_who_waits_for_a_hold_is_let_out_to_park(exclusive: ExclusiveSection) -> None:
    first, second = Vcpu(exclusive), Vcpu(exclusive)
    assert exclusive.start_exclusive(first, [first, second])
    answers: list[bool] = []
    waiting = threading.Thread(
        target=lambda: answers.append(exclusive.start_exclusive(second, [first, second]))
    )
    waiting.start()
    second.stopping = True
    exclusive.wake()
    waiting.join(HANGS)
    assert answers == [False]
    assert exclusive.holder is first


class Observed(ExclusiveSection):
    """Sets an event when a vCPU waits, which lasts until ``end_exclusive``."""

    def __init__(self) -> None:
        super().__init__()
        self.awaited = threading.Event()

    def _wait(
        self, vcpu: ExclusiveVcpu, ready: Callable[[], bool], *, powered_off: bool = False
    ) -> None:
        self.awaited.set()
        super()._wait(vcpu, ready, powered_off=powered_off)


def test_who_waited_is_owed_a_turn_until_it_was_in_the_guest() -> None:
    exclusive = Observed()
    first, second = Vcpu(exclusive), Vcpu(exclusive)
    assert exclusive.start_exclusive(first, [first, second])
    exclusive.awaited.clear()
    second.thread.start()
    assert exclusive.awaited.wait(HANGS)
    exclusive.end_exclusive(first)
    assert exclusive.owed == {second}
    assert second.entered.acquire(timeout=HANGS)
    second.stop()
    second.thread.join(HANGS)
    assert exclusive.owed == set()


def _wait_out_a_section(exclusive: Observed, waiter: Vcpu) -> None:
    """Have *waiter* come to the guest during another vCPU's section, and end that."""
    first = Vcpu(exclusive)
    assert exclusive.start_exclusive(first, [first, waiter])
    exclusive.awaited.clear()
    waiter.thread.start()
    assert exclusive.awaited.wait(HANGS)
    exclusive.end_exclusive(first)


def test_who_sleeps_in_the_guest_is_owed_nothing() -> None:
    """Else the next section of the same vCPU would wait in vain for it to run."""
    exclusive = Observed()
    off = Vcpu(exclusive)
    off.powered_off = True
    _wait_out_a_section(exclusive, off)
    assert exclusive.owed == set()
    assert off.entered.acquire(timeout=HANGS), "it goes on all the same"
    off.stop()
    off.thread.join(HANGS)


def test_who_parks_is_owed_nothing_and_holds_nothing() -> None:
    exclusive = Observed()
    second = Vcpu(exclusive)
    _wait_out_a_section(exclusive, second)
    assert exclusive.owed == {second}
    exclusive.parks(second)
    assert exclusive.owed == set()
    assert second.entered.acquire(timeout=HANGS)
    second.stop()
    second.thread.join(HANGS)
    assert exclusive.start_exclusive(second, [second]) is False
    second.stopping = False
    assert exclusive.start_exclusive(second, [second])
    exclusive.parks(second)
    assert exclusive.holder is None
