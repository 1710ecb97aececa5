"""Several vCPUs stop at once, and each stop is told: one after the other, none lost, none twice."""

from collections import Counter
from collections.abc import Callable

import pytest

from gdbstub.target import Action, BreakpointKind, StopReason
from tests.contract.conftest import Start
from tests.contract.laps import LAP_COUNT, begin, first
from tests.contract.programs import DATA, LAP_VCPUS

ROUNDS = 10

#: Function of a thread that returns address and length of its breakpoint or watchpoint.
Place = Callable[[int], tuple[int, int]]


def _code(thread: int) -> tuple[int, int]:
    return first(thread), 4


def _stored(thread: int) -> tuple[int, int]:
    """Return address and size of a thread's count of laps."""
    return DATA + 8 * (thread - 1), 8


KINDS: dict[BreakpointKind, tuple[StopReason, Place]] = {
    BreakpointKind.SOFTWARE: (StopReason.SWBREAK, _code),
    BreakpointKind.HARDWARE: (StopReason.HWBREAK, _code),
    BreakpointKind.WRITE: (StopReason.WATCH, _stored),
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_lap_goes_by_without_its_stop(start: Start, kind: BreakpointKind) -> None:
    client = begin(start)
    why, place = KINDS[kind]
    for thread in client.threads:
        client.target.insert(1, kind, *place(thread))
    reported: Counter[int] = Counter()
    # A watched store comes behind the instruction that counts.
    ahead = int(kind is BreakpointKind.WRITE)
    while min(reported[thread] for thread in client.threads) < ROUNDS:
        report = client.go()
        thread = report.thread
        reported[thread] += 1
        assert report.stop is why
        assert client.pc(thread) == first(thread) + 4 * ahead
        assert client.x(thread, LAP_COUNT) == reported[thread] - 1 + ahead
        for each in client.threads:
            gone = client.x(each, LAP_COUNT) - reported[each]
            # It has gone by each stop that was told, and by no other.
            assert gone in ((-1, 0) if each == thread else (0, 1)), (each, reported)
            assert gone < 1 or ahead, f"thread {each} has gone by without a word: {reported}"
        client.step_over(thread, kind, *place(thread))
        assert sum(reported.values()) < 50 * ROUNDS * LAP_VCPUS, (
            f"never the turn of all: {reported}"
        )


def test_steps_that_end_at_once_are_all_told(start: Start) -> None:
    client = begin(start)
    everyone = dict.fromkeys(client.threads, Action.STEP)
    for _ in range(ROUNDS):
        before = {thread: client.pc(thread) for thread in client.threads}
        reported = {client.resume(everyone).thread}
        moved = {thread for thread in client.threads if client.pc(thread) != before[thread]}
        after = {thread: client.pc(thread) for thread in client.threads}
        assert reported <= moved
        while moved - reported:
            # The next step of each is the one that it has finished.
            report = client.resume(dict.fromkeys(moved - reported, Action.STEP))
            assert report.stop is StopReason.PLAIN
            assert report.thread in moved - reported
            reported.add(report.thread)
            assert {thread: client.pc(thread) for thread in client.threads} == after


def test_a_finished_step_is_no_news_to_who_goes_on(start: Start) -> None:
    """GDB would take it for a signal of the guest's."""
    client = begin(start)
    everyone = dict.fromkeys(client.threads, Action.STEP)
    client.target.insert(1, BreakpointKind.SOFTWARE, first(1), 4)
    for _ in range(ROUNDS):
        client.resume(everyone)
        report = client.go()
        assert (report.thread, report.stop) == (1, StopReason.SWBREAK)
        client.step_over(1, BreakpointKind.SOFTWARE, first(1), 4)


def test_one_steps_while_the_others_go_on_and_stop(start: Start) -> None:
    client = begin(start)
    others = [thread for thread in client.threads if thread != 1]
    for thread in others:
        client.target.insert(1, BreakpointKind.SOFTWARE, first(thread), 4)
    actions = {1: Action.STEP, **dict.fromkeys(others, Action.CONTINUE)}
    reported: Counter[int] = Counter()
    while min(reported[thread] for thread in client.threads) < ROUNDS:
        pc, laps = client.pc(1), client.x(1, LAP_COUNT)
        report = client.resume(actions)
        reported[report.thread] += 1
        if report.thread == 1:
            assert report.stop is StopReason.PLAIN
        else:
            assert report.stop is StopReason.SWBREAK
            assert client.pc(report.thread) == first(report.thread)
        # At most one instruction of thread 1, told now or when the guest goes on.
        follower = first(1) if pc == first(1) + 12 else pc + 4
        assert client.pc(1) in (pc, follower)
        assert client.x(1, LAP_COUNT) - laps in (0, 1)
        for thread in others:
            assert client.x(thread, LAP_COUNT) in (reported[thread], reported[thread] - 1)
        if report.thread != 1:
            client.step_over(report.thread, BreakpointKind.SOFTWARE, first(report.thread), 4)
        assert sum(reported.values()) < 50 * ROUNDS * LAP_VCPUS, (
            f"never the turn of all: {reported}"
        )
