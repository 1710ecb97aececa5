"""Watchpoints as values: what comparators watch, and whose a hit is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub.aarch64.sysreg import DBGWCR
from gdbstub.hwbp import (
    NoWatchpoint,
    Slots,
    Watchpoint,
    also_hit,
    covers,
    find_hit,
    plan_watchpoints,
)
from gdbstub.target import BreakpointKind

KERNEL = 0xFFFF_8000_0800_0000
GB = 1 << 30


def watched(control: int, value: int) -> range:
    """The bytes that DBGWCR and DBGWVR select (Arm ARM D2.9.5)."""
    wcr = DBGWCR(control)
    assert (wcr.E, wcr.PAC) == (1, 3)
    if wcr.MASK:
        assert wcr.MASK >= 3
        assert wcr.BAS == 0xFF
        assert value % (1 << wcr.MASK) == 0
        return range(value, value + (1 << wcr.MASK))
    assert value % 8 == 0
    bas = f"{wcr.BAS:08b}"[::-1]
    assert "01" not in bas.strip("0"), "BAS is contiguous"
    return range(value + bas.index("1"), value + bas.rindex("1") + 1)


def watched_by(slots: Slots) -> list[range]:
    return sorted(
        (watched(*slot.registers(BreakpointKind.WRITE)) for slot in slots),
        key=lambda each: each.start,
    )


def _asked(wanted: Watchpoint) -> range:
    return range(wanted.gva, wanted.gva + wanted.length)


def is_covered(wanted: range, parts: list[range]) -> bool:
    """Return True if the sorted *parts* cover every byte of *wanted*."""
    at = wanted.start
    for part in parts:
        if part.start <= at < part.stop:
            at = part.stop
    return at >= wanted.stop


WANTED = st.builds(
    Watchpoint,
    st.just(BreakpointKind.WRITE),
    st.integers(0, 1 << 13).map(lambda offset: KERNEL + offset),
    st.one_of(st.integers(1, 64), st.integers(1, 1 << 14), st.integers(1, 3 * GB)),
)


@given(WANTED, st.integers(1, 16))
def test_a_cover_never_leaves_a_byte_out(wanted: Watchpoint, most: int) -> None:
    for cover in covers(wanted.gva, wanted.length, most):
        assert len(cover.slots) <= most
        parts = watched_by(cover.slots)
        assert is_covered(_asked(wanted), parts)
        assert sum(map(len, parts)) == wanted.length + cover.waste


@given(st.lists(WANTED, max_size=8, unique=True), st.integers(1, 16))
def test_a_plan_watches_all_that_was_asked_for_with_what_there_is(
    wanted: list[Watchpoint], slots: int
) -> None:
    plan = plan_watchpoints(tuple(wanted), slots)
    if plan is None:
        # Not even with the fewest for each.
        each = [covers(w.gva, w.length, slots) for w in wanted]
        fewest = [len(found[0].slots) if found else slots + 1 for found in each]
        assert sum(fewest) > slots
        return
    assert list(plan) == wanted
    assert sum(map(len, plan.values())) <= slots
    for watchpoint, share in plan.items():
        assert is_covered(_asked(watchpoint), watched_by(share))


@given(st.integers(0, 64), st.integers(1, 256))
def test_with_enough_comparators_nothing_else_is_watched(offset: int, length: int) -> None:
    cover = covers(KERNEL + offset, length, 16)[-1]
    assert cover.waste == 0


@pytest.mark.parametrize(
    ("gva", "length", "slots"),
    [
        (0x1000, 8, 1), (0x1005, 3, 1), (0x1005, 8, 2), (0x1000, 4096, 1), (0x1008, 16, 2),
        (0x4000_0000, GB, 1), (0x8000_0000, 2 * GB, 1), (0, 2 * GB, 1), (0, 4 * GB, 2),
    ],
)  # fmt: skip
def test_number_of_comparators(gva: int, length: int, slots: int) -> None:
    cover = covers(gva, length, 4)[-1]
    assert (len(cover.slots), cover.waste) == (slots, 0)


@pytest.mark.parametrize(
    ("gva", "length", "most", "watched_bytes"),
    [
        (0x1005, 8, 1, [range(0x1000, 0x1010)]),
        (0x1008, 320, 1, [range(0x1000, 0x1200)]),
        (0x1008, 320, 2, [range(0x1000, 0x1100), range(0x1100, 0x1180)]),
        (0x1000, 24, 1, [range(0x1000, 0x1020)]),
        (2 * GB - 8, 16, 2, [range(2 * GB - 8, 2 * GB), range(2 * GB, 2 * GB + 8)]),
    ],
)
def test_too_few_comparators_watch_the_least_more(
    gva: int, length: int, most: int, watched_bytes: list[range]
) -> None:
    cover = covers(gva, length, most)[-1]
    assert watched_by(cover.slots) == watched_bytes


def test_what_no_comparators_can_cover_is_none() -> None:
    assert covers(2 * GB - 8, 16, 1) == ()
    assert covers(0, (1 << 64) - 1, 4) == ()
    assert plan_watchpoints((Watchpoint(BreakpointKind.WRITE, 2 * GB - 8, 16),), 1) is None


def test_comparators_go_where_they_save_most() -> None:
    big, small = (
        Watchpoint(BreakpointKind.WRITE, 0x1008, 0x140),
        Watchpoint(BreakpointKind.READ, 0x2005, 8),
    )
    plan = plan_watchpoints((big, small), 4)
    assert plan is not None
    # Two for the small one would save 8 bytes; a third for the big one saves 56.
    assert watched_by(plan[small]) == [range(0x2000, 0x2010)]
    assert watched_by(plan[big])[-1] == range(0x1140, 0x1148)


# Whose a hit is.

WRITE, ACCESS = (
    Watchpoint(BreakpointKind.WRITE, 0x1000, 8),
    Watchpoint(BreakpointKind.ACCESS, 0x2000, 4),
)


def _plan(*wanted: Watchpoint, slots: int = 4) -> dict[Watchpoint, Slots]:
    plan = plan_watchpoints(wanted, slots)
    assert plan is not None
    return dict(plan)


@pytest.mark.parametrize(
    ("far", "write", "whose", "clamped"),
    [
        (0x1004, True, WRITE, 0x1004),
        (0x1007, True, WRITE, 0x1007),
        (0x0FF8, True, WRITE, 0x1000),  # a wide access that began below
        (0xAB << 56 | 0x1002, True, WRITE, 0x1002),  # tagged
        (0x2000, False, ACCESS, 0x2000),
        (0x1FF8, False, ACCESS, 0x2000),
    ],
)
def test_a_hit_is_the_nearest_of_its_kind(
    far: int, write: bool, whose: Watchpoint, clamped: int
) -> None:
    found = find_hit(_plan(WRITE, ACCESS), far, None, write=write)
    assert found == whose
    assert whose.clamp(far) == clamped


def test_two_kinds_at_one_address_are_told_apart() -> None:
    read = Watchpoint(BreakpointKind.READ, 0x1000, 8)
    plan = _plan(WRITE, read)
    assert find_hit(plan, 0x1003, None, write=True) == WRITE
    assert find_hit(plan, 0x1003, None, write=False) == read


def test_a_kind_that_nobody_watches_for_is_nobody_s() -> None:
    assert find_hit(_plan(WRITE), 0x1000, None, write=False) is NoWatchpoint.UNRELATED


def test_a_far_away_hit_is_nobody_s() -> None:
    assert find_hit(_plan(WRITE), 0x9000_0000, None, write=True) is NoWatchpoint.UNRELATED


#: One comparator: it watches 0x1000 to 0x103f.
WIDE = Watchpoint(BreakpointKind.ACCESS, 0x1008, 40)
TAG = 0xAB << 56


@pytest.mark.parametrize(
    ("far", "accessed", "whose"),
    [
        (0x1008, range(0x1008, 0x1010), WIDE),
        (0x102F, range(0x102F, 0x1030), WIDE),
        (0x1030, range(0x1030, 0x1038), NoWatchpoint.BEYOND_RANGE),
        (0x1000, range(0x1000, 0x1008), NoWatchpoint.BEYOND_RANGE),
        (0x1000, range(0x1000, 0x1010), WIDE),  # FAR is the first byte that is watched
        (0x1003, range(0x0FF9, 0x1009), WIDE),
        (0x1003, range(0x0FF8, 0x1008), NoWatchpoint.BEYOND_RANGE),
        (0x1000, None, WIDE),  # what is not known is rather told
        (
            0xAB << 56 | 0x1030,
            range(0xAB << 56 | 0x1030, 0xAB << 56 | 0x1038),
            NoWatchpoint.BEYOND_RANGE,
        ),
    ],
)
def test_a_hit_beyond_the_range_is_none(
    far: int, accessed: range | None, whose: Watchpoint | NoWatchpoint
) -> None:
    plan = _plan(WIDE, slots=1)
    assert watched_by(plan[WIDE]) == [range(0x1000, 0x1040)]
    assert find_hit(plan, far, accessed, write=True) == whose


def test_far_beyond_the_range_even_an_unknown_access_is_outside() -> None:
    wide = Watchpoint(BreakpointKind.WRITE, 0x10_0000, 3 << 19)
    plan = _plan(wide, slots=1)
    assert find_hit(plan, 0x3F_FFF8, None, write=True) is NoWatchpoint.BEYOND_RANGE


def test_all_that_one_access_touches_are_hit() -> None:
    read, beside = Watchpoint(BreakpointKind.READ, 0x1000, 8), WRITE._replace(gva=0x1008)
    plan = _plan(WRITE, read, beside, ACCESS)
    both = range(0xFF << 56 | 0x1004, 0xFF << 56 | 0x100C)
    assert also_hit(plan, WRITE, both, write=True) == (beside,)
    assert also_hit(plan, beside, range(0x1008, 0x1010), write=True) == ()
