"""The breakpoint history of ``monitor break list``."""

from gdbstub.monitor.breakpoint_history import REMEMBERED, BreakpointHistory, Entry
from gdbstub.target import BreakpointKind, Stopped, StopReason

KEY = BreakpointKind.SOFTWARE, 0x1000, 4


def _only(history: BreakpointHistory) -> Entry:
    (entry,) = history.entries.values()
    return entry


def test_what_is_asked_for_is_armed_from_the_next_run_on() -> None:
    history = BreakpointHistory()
    history.insert(*KEY)
    assert not history.armed(_only(history))
    history.runs += 1
    assert history.armed(_only(history))
    # Taking it back changes nothing until the guest runs.
    history.remove(*KEY)
    assert history.armed(_only(history))
    history.insert(*KEY)
    assert history.armed(_only(history))
    history.remove(*KEY)
    history.runs += 1
    assert not history.armed(_only(history))
    history.insert(*KEY)
    assert not history.armed(_only(history))


def test_what_comes_and_goes_between_two_runs_was_never_armed() -> None:
    history = BreakpointHistory(runs=3)
    history.insert(*KEY)
    history.remove(*KEY)
    assert not history.armed(_only(history))


def test_hits_outlive_the_request() -> None:
    history = BreakpointHistory()
    for kind, gva, length in (
        KEY,
        (BreakpointKind.HARDWARE, 0x1000, 4),
        (BreakpointKind.WRITE, 0x2000, 16),
    ):
        history.insert(kind, gva, length)
    history.hit(Stopped(1, stop=StopReason.SWBREAK), 0x1000)
    history.hit(Stopped(1, stop=StopReason.SWBREAK), 0x1004)
    history.hit(Stopped(1, stop=StopReason.WATCH, gva=0x200F), 0x1000)
    history.hit(Stopped(1, stop=StopReason.WATCH, gva=0x2010), 0x1000)
    history.hit(Stopped(1, stop=StopReason.AWATCH, gva=0x2000), 0x1000)
    history.remove(*KEY)
    history.remove(BreakpointKind.READ, 0, 8)
    history.insert(*KEY)
    hits = {entry.kind: entry.hits for entry in history.entries.values()}
    assert hits == {BreakpointKind.SOFTWARE: 1, BreakpointKind.HARDWARE: 0, BreakpointKind.WRITE: 1}


def test_it_does_not_grow_without_bound() -> None:
    history = BreakpointHistory()
    for gva in range(REMEMBERED + 5):
        history.insert(BreakpointKind.HARDWARE, 4 * gva, 4)
    assert len(history.entries) == REMEMBERED
    assert (BreakpointKind.HARDWARE, 16, 4) not in history.entries
    assert (BreakpointKind.HARDWARE, 20, 4) in history.entries
