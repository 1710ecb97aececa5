"""Exclusive sections of a foreign guest: whose turn it is."""

from collections.abc import Callable

from gdbstub.foreign.exclusive import ForeignExclusiveSection


class Thread:
    def __init__(self) -> None:
        self.out_of_guest = False
        self.signals = "delivered"

    def kick(self) -> None:
        self.out_of_guest = True

    def hold_signals(self) -> None:
        self.signals = "held"

    def release_signals(self) -> None:
        self.signals = "delivered"


class Vcpu:
    """A vCPU that executes until nobody asks any more how long it has executed."""

    def __init__(self, *, sleeps: bool = False) -> None:
        self.thread = Thread()
        self.sleeps = sleeps
        self._time = 0.0

    def executed(self) -> float:
        if not self.sleeps:
            self._time += 0.0001
        return self._time


class Pump:
    """Handles no stops, but calls what a test has for it when it is not to block."""

    def __init__(self) -> None:
        self.looks = 0
        self.at_first_look: Callable[[], None] = lambda: None

    def __call__(self, condition: Callable[[], bool], *, block: bool = True) -> None:
        if block:
            assert condition()
            return
        self.looks += 1
        if self.looks == 1:
            self.at_first_look()


def never() -> bool:
    return False


def a_section_that_kept_out(other: Vcpu, pump: Pump) -> tuple[ForeignExclusiveSection[Vcpu], Vcpu]:
    """Sections in which *other* had to wait for the returned vCPU, and runs again."""
    exclusive, first = ForeignExclusiveSection[Vcpu](pump), Vcpu()
    assert exclusive.start(first, [other], never)
    assert other.thread.out_of_guest
    exclusive.waits(other)
    assert exclusive.end(first) == {other}
    other.thread.out_of_guest = False
    return exclusive, first


def test_those_that_waited_run_before_the_next_section() -> None:
    pump, other = Pump(), Vcpu()
    exclusive, first = a_section_that_kept_out(other, pump)
    assert exclusive.start(first, [other], never)
    assert pump.looks > 1


def test_those_that_waited_run_before_the_section_of_a_third() -> None:
    """Else those that come to a breakpoint in turn would leave them no time to execute."""
    pump, other, third = Pump(), Vcpu(), Vcpu()
    exclusive, first = a_section_that_kept_out(other, pump)
    assert exclusive.start(third, [first, other], never)
    assert pump.looks > 1


def test_nobody_overtakes_the_one_that_waits_for_them() -> None:
    """Else those that come to a breakpoint again and again would leave it no section."""
    pump, other = Pump(), Vcpu()
    exclusive, first = a_section_that_kept_out(other, pump)
    turns: list[bool] = []

    def hit() -> None:
        turns.append(exclusive.is_anothers_turn(other))
        exclusive.left_guest(other)
        other.thread.out_of_guest = True

    pump.at_first_look = hit
    assert exclusive.start(first, [other], never)
    assert turns == [True]
    exclusive.end(first)
    assert not exclusive.is_anothers_turn(other)


def test_one_that_sleeps_is_owed_nothing() -> None:
    """A vCPU that waits for an interrupt, or is powered off, executes nothing: no turn is owed."""
    pump, other = Pump(), Vcpu(sleeps=True)
    exclusive, first = a_section_that_kept_out(other, pump)
    assert exclusive.start(first, [other], never)
    assert pump.looks == 0


def test_signals_are_held_in_a_section_alone() -> None:
    exclusive, first, other = ForeignExclusiveSection[Vcpu](Pump()), Vcpu(), Vcpu()
    for end in (exclusive.end, exclusive.parks, lambda _: exclusive.end_all()):
        assert exclusive.start(first, [other], never)
        assert first.thread.signals == "held"
        end(first)
        assert first.thread.signals == "delivered"
        exclusive.left_guest(other)
    assert other.thread.signals == "delivered"
