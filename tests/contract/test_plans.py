"""Thread plans: ranges, waits, exclusives, hits beside a watchpoint."""

from collections.abc import Callable

import pytest

from gdbstub.aarch64.comparators import breakpoint_at
from gdbstub.aarch64.registers import PC, X
from gdbstub.machine import DebugRegisters
from gdbstub.target import Action, BreakpointKind, Range, Signal, Stopped, StopReason
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.programs import (
    ADDS,
    COUNT,
    DATA,
    STORES,
    STRAIGHT,
    WAITS,
    Program,
    at,
)

Begin = Callable[[Program], Client]


@pytest.fixture
def begin(start: Start) -> Begin:
    return lambda program: Client(start(program).machine)


def word(client: Client) -> int:
    return int.from_bytes(client.machine.read_memory(DATA, 4), "little")


# Ranges.


def test_a_range_is_stepped_through(begin: Begin) -> None:
    client = begin(STRAIGHT)
    assert client.resume({1: Range(at(0), at(3))}) == Stopped(1)
    assert (client.pc(1), client.x(1, 0)) == (at(3), 2)


def test_a_range_of_nothing_is_a_step(begin: Begin) -> None:
    client = begin(STRAIGHT)
    assert client.resume({1: Range(at(2), at(2))}) == Stopped(1)
    assert client.pc(1) == at(1)


@pytest.mark.parametrize(
    ("kind", "stop"),
    [(BreakpointKind.SOFTWARE, StopReason.SWBREAK), (BreakpointKind.HARDWARE, StopReason.HWBREAK)],
)
def test_a_breakpoint_within_a_range_stops(
    begin: Begin, kind: BreakpointKind, stop: StopReason
) -> None:
    client = begin(STRAIGHT)
    client.target.insert(1, kind, at(2), 4)
    assert client.resume({1: Range(at(0), at(4))}) == Stopped(1, stop=stop)
    assert client.pc(1) == at(2)


def test_a_watchpoint_within_a_range_stops(begin: Begin) -> None:
    client = begin(STORES)
    client.machine.vcpus[0].set(X[0], DATA)
    client.target.insert(1, BreakpointKind.WRITE, DATA + 8, 8)
    report = client.resume({1: Range(at(0), at(8))})
    assert (report.stop, report.gva, client.pc(1)) == (StopReason.WATCH, DATA + 8, at(1))


def test_a_range_that_is_never_left_can_be_interrupted(begin: Begin) -> None:
    client = begin(COUNT)
    client.target.insert(1, BreakpointKind.SOFTWARE, at(2), 4)
    client.interrupt_at_once()
    report = client.resume({1: Range(at(0), at(2))})
    assert report.signal in (Signal.INT, Signal.TRAP)
    assert client.pc(1) in (at(0), at(1))


def test_an_exclusive_sequence_within_a_range_gets_to_its_end(begin: Begin) -> None:
    client = begin(ADDS)
    for times in range(1, 4):
        client.machine.vcpus[0].set(PC, at(0))
        assert client.resume({1: Range(at(0), at(5))}) == Stopped(1)
        assert (client.pc(1), word(client)) == (at(5), times)


def test_a_breakpoint_within_an_exclusive_sequence_stops_a_range(begin: Begin) -> None:
    client = begin(ADDS)
    client.target.insert(1, BreakpointKind.SOFTWARE, at(2), 4)
    assert client.resume({1: Range(at(0), at(5))}) == Stopped(1, stop=StopReason.SWBREAK)
    assert client.pc(1) == at(2)


# Waits.


def test_a_wait_is_stepped_without_running_the_guest(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """KVM may block in it until an interrupt comes, which this guest never gets."""
    client = begin(WAITS)

    def refuse(*_: object) -> None:
        raise AssertionError("the guest was run")

    monkeypatch.setattr(client.machine, "resume", refuse)
    for line in range(2):
        assert client.resume({1: Action.STEP}) == Stopped(1)
        assert client.pc(1) == at(line + 1)


def test_a_breakpoint_on_a_wait_still_stops(begin: Begin) -> None:
    for kind, stop in (
        (BreakpointKind.SOFTWARE, StopReason.SWBREAK),
        (BreakpointKind.HARDWARE, StopReason.HWBREAK),
    ):
        client = begin(WAITS)
        client.target.insert(1, kind, at(1), 4)
        assert client.resume({1: Range(at(0), at(2))}) == Stopped(1, stop=stop)
        assert client.pc(1) == at(1)


# Watchpoints.


@pytest.mark.parametrize(
    ("offset", "length"), [(0x13, 0x55), (8, 8), (0, 0x80), (0x1D, 0x21), (3, 0x7B), (7, 1)]
)
def test_a_watchpoint_of_any_length_stops_for_what_touches_it_and_for_nothing_else(
    begin: Begin, offset: int, length: int
) -> None:
    client = begin(STORES)
    client.machine.vcpus[0].set(X[0], DATA)
    client.target.insert(1, BreakpointKind.SOFTWARE, at(16), 4)
    watched = range(DATA + offset, DATA + offset + length)
    wanted = [n for n in range(16) if DATA + 8 * n < watched.stop and DATA + 8 * n + 8 > watched[0]]
    client.target.insert(1, BreakpointKind.WRITE, watched.start, length)
    lines: list[int] = []
    while (report := client.go()).stop is StopReason.WATCH:
        assert report.gva in watched
        line = (client.pc(1) - at(0)) // 4
        lines.append(line)
        assert client.x(1, 0) == DATA + 8 * line, "the access has not been done"
        client.step_over(1, BreakpointKind.WRITE, watched.start, length)
    assert report == Stopped(1, stop=StopReason.SWBREAK)
    assert lines == wanted
    assert client.x(1, 0) == DATA + 128, "each store was done once"


#: Two comparators cover it exactly; one, 32 bytes that begin at DATA.
BESIDE = DATA + 9, 0x17


@pytest.mark.parametrize("kind", [BreakpointKind.WRITE, BreakpointKind.ACCESS])
def test_hits_beside_a_watchpoint_let_an_exclusive_sequence_get_to_its_end(
    begin: Begin, kind: BreakpointKind
) -> None:
    client = begin(ADDS)
    for n in range(1, client.machine.watchpoint_slots):
        client.target.insert(1, BreakpointKind.WRITE, DATA + 0x1000 * n, 8)
    client.target.insert(1, kind, *BESIDE)
    client.target.insert(1, BreakpointKind.SOFTWARE, at(5), 4)
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    assert word(client) == 1


def test_who_watches_a_lock_sees_it_change(begin: Begin) -> None:
    """GDB goes on from a watchpoint by one step without it."""
    client = begin(ADDS)
    client.target.insert(1, BreakpointKind.SOFTWARE, at(5), 4)
    client.target.insert(1, BreakpointKind.WRITE, DATA, 4)
    report = client.go()
    assert (report.stop, report.gva, client.pc(1), word(client)) == (
        StopReason.WATCH,
        DATA,
        at(3),
        0,
    )
    client.step_over(1, BreakpointKind.WRITE, DATA, 4)
    assert (client.x(1, 2), word(client)) == (0, 1)
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    assert word(client) == 1


# What nothing explains.


def test_an_exit_that_nothing_explains_is_told_with_its_syndrome(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = begin(STRAIGHT)
    arm = client.machine.arm

    def arm_another(debug: DebugRegisters) -> None:
        arm(debug._replace(breakpoints=(*debug.breakpoints, breakpoint_at(at(2)))))

    monkeypatch.setattr(client.machine, "arm", arm_another)
    report = client.go()
    assert (report.signal, report.stop) == (Signal.TRAP, StopReason.PLAIN)
    assert "ESR_EL2 0xc2" in report.text
    assert client.pc(1) == at(2)
