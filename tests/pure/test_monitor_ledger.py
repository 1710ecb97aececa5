"""What ``monitor break list`` knows of a client's requests."""

from gdbstub.monitor.breakpoint_history import REMEMBERED, Entry, Ledger
from gdbstub.target import Kind, Stop, Stopped

NOWHERE: frozenset[int] = frozenset()
KEY = Kind.SOFTWARE, 0x1000, 4


def _only(ledger: Ledger) -> Entry:
    (entry,) = ledger.entries.values()
    return entry


def test_what_is_asked_for_is_armed_from_the_next_run_on() -> None:
    ledger = Ledger()
    ledger.insert(*KEY, frozenset({0x4000}))
    assert not ledger.armed(_only(ledger))
    ledger.runs += 1
    assert ledger.armed(_only(ledger))
    # Taking it back changes nothing until the guest runs.
    ledger.remove(*KEY)
    assert ledger.armed(_only(ledger))
    ledger.insert(*KEY, NOWHERE)
    assert ledger.armed(_only(ledger))
    assert _only(ledger).places == {0x4000}
    ledger.remove(*KEY)
    ledger.runs += 1
    assert not ledger.armed(_only(ledger))
    ledger.insert(*KEY, NOWHERE)
    assert not ledger.armed(_only(ledger))


def test_what_comes_and_goes_between_two_runs_was_never_armed() -> None:
    ledger = Ledger(runs=3)
    ledger.insert(*KEY, NOWHERE)
    ledger.remove(*KEY)
    assert not ledger.armed(_only(ledger))


def test_hits_outlive_the_request() -> None:
    ledger = Ledger()
    for kind, gva, length in (KEY, (Kind.HARDWARE, 0x1000, 4), (Kind.WRITE, 0x2000, 16)):
        ledger.insert(kind, gva, length, NOWHERE)
    ledger.hit(Stopped(1, stop=Stop.SWBREAK), 0x1000)
    ledger.hit(Stopped(1, stop=Stop.SWBREAK), 0x1004)
    ledger.hit(Stopped(1, stop=Stop.WATCH, gva=0x200F), 0x1000)
    ledger.hit(Stopped(1, stop=Stop.WATCH, gva=0x2010), 0x1000)
    ledger.hit(Stopped(1, stop=Stop.AWATCH, gva=0x2000), 0x1000)
    ledger.remove(*KEY)
    ledger.remove(Kind.READ, 0, 8)
    ledger.insert(*KEY, NOWHERE)
    hits = {entry.kind: entry.hits for entry in ledger.entries.values()}
    assert hits == {Kind.SOFTWARE: 1, Kind.HARDWARE: 0, Kind.WRITE: 1}


def test_it_does_not_grow_without_bound() -> None:
    ledger = Ledger()
    for gva in range(REMEMBERED + 5):
        ledger.insert(Kind.HARDWARE, 4 * gva, 4, NOWHERE)
    assert len(ledger.entries) == REMEMBERED
    assert (Kind.HARDWARE, 16, 4) not in ledger.entries
    assert (Kind.HARDWARE, 20, 4) in ledger.entries
