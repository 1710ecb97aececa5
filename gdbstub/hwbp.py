"""Hardware breakpoints and watchpoints: DBGBCR and DBGWCR values for what a client asked for.

The module has three parts: planning of comparators, matching of a debug exception to the request
behind it, and the table of requests. It arms nothing: ``HardwareBreakpoints.registers`` returns
what the machine is to hold. Comparators that cannot watch all bytes exactly watch more than was
asked for; ``find_hit`` recognises a hit outside. Source: Arm ARM D2.8 "Breakpoint exceptions" and
D2.9 "Watchpoint exceptions".
"""

from collections.abc import Iterable, Mapping
from enum import Enum, auto
from functools import lru_cache
from typing import Final, NamedTuple

from gdbstub.aarch64.comparators import breakpoint_at, canonical
from gdbstub.aarch64.sysreg import DBGWCR
from gdbstub.errors import NoSlot
from gdbstub.machine import DebugRegisters
from gdbstub.target import BreakpointKind

#: DBGWCR.LSC, by the kind of watchpoint.
LSC: Final = {BreakpointKind.READ: 0b01, BreakpointKind.WRITE: 0b10, BreakpointKind.ACCESS: 0b11}
#: Bytes that DBGWCR.BAS selects from; a comparator that watches more needs DBGWCR.MASK.
_DOUBLEWORD: Final = 8
#: Bytes that one comparator watches at most, by DBGWCR.MASK.
_LARGEST: Final = 1 << 31
_TAG: Final = 0xFF << 56
#: Bytes that one instruction accesses at most (DC ZVA of the largest block): FAR is no further than
#: that from what was hit.
_LARGEST_ACCESS: Final = 2048


class Slot(NamedTuple):
    """One comparator's part of a watchpoint: it watches ``size`` bytes from ``gva``."""

    gva: int
    size: int

    def registers(self, kind: BreakpointKind) -> tuple[int, int]:
        """Return the values of DBGWCR and DBGWVR."""
        if self.size >= _DOUBLEWORD:
            control = DBGWCR.of(E=1, PAC=0b11, LSC=LSC[kind], BAS=0xFF)
            if self.size > _DOUBLEWORD:
                control = control.replace(MASK=self.size.bit_length() - 1)
            return control, canonical(self.gva)
        bas = (1 << self.size) - 1 << (self.gva & 7)
        return DBGWCR.of(E=1, PAC=0b11, LSC=LSC[kind], BAS=bas), canonical(self.gva & -8)


Slots = tuple[Slot, ...]


class Watchpoint(NamedTuple):
    """A watched range, as a client asked for it: ``length`` bytes from ``gva``."""

    kind: BreakpointKind
    gva: int
    length: int

    @property
    def watched(self) -> range:
        """Return the watched addresses, without their tag."""
        start = self.gva & ~_TAG
        return range(start, start + self.length)

    def distance(self, far: int) -> int:
        """Return the distance in bytes of *far* from the watched range; 0 inside.

        FAR may name any byte of the access, also one before the range, and may be tagged
        (linux/arch/arm64/kernel/hw_breakpoint.c, get_distance_from_watchpoint).
        """
        return _gap(self.watched, far & ~_TAG)

    def touches(self, accessed: range) -> bool:
        """Return True if an access to the addresses *accessed*, which may be tagged, is a hit."""
        start = accessed.start & ~_TAG
        return _meet(self.watched, range(start, start + len(accessed)))

    def clamp(self, far: int) -> int:
        """Return the watched byte nearest to *far*: a client drops an address outside its range."""
        watched = self.watched
        return self.gva & _TAG | min(max(far & ~_TAG, watched.start), watched.stop - 1)


#: The comparators that serve each watchpoint.
WatchpointPlan = Mapping[Watchpoint, Slots]


class NoWatchpoint(Enum):
    """The reason that a watchpoint exception belongs to no watchpoint of the client."""

    BEYOND_RANGE = auto()  # the access is to bytes that our comparators watch beyond a range
    UNRELATED = auto()  # the access is to nothing that a comparator of ours watches


def _gap(watched: range, address: int) -> int:
    return max(watched.start - address, address - watched.stop + 1, 0)


def _meet(one: range, other: range) -> bool:
    return one.start < other.stop and other.start < one.stop


# Planning.


class Cover(NamedTuple):
    """Comparators that watch all of a range, and ``waste`` bytes besides."""

    slots: Slots
    waste: int


#: The useful covers of one range: each has more comparators than the one before, and less waste.
Covers = tuple[Cover, ...]


@lru_cache(maxsize=256)
def covers(gva: int, length: int, most: int) -> Covers:
    """Find the covers of *length* bytes by at most *most* comparators; none if they do not suffice.

    A comparator watches a run of bytes within 8 aligned ones, or an aligned power of two.
    """
    start, stop = gva, gva + length
    first, last = start // _LARGEST, (stop - 1) // _LARGEST
    if last - first >= most:
        return ()  # not to be counted through: a client may ask for any length
    found: Covers = (Cover((), 0),)
    for block in range(first, last + 1):
        found = _both(found, _within(block * _LARGEST, _LARGEST, start, stop, most), most)
    return found


def _within(base: int, size: int, start: int, stop: int, most: int) -> Covers:
    """Find the covers of the part of a range that lies in one block."""
    low, high = max(start, base), min(stop, base + size)
    if low >= high:
        return (Cover((), 0),)
    if size == _DOUBLEWORD:
        return (Cover((Slot(low, high - low),), 0),)
    whole = Cover((Slot(base, size),), size - (high - low))
    if not whole.waste:
        return (whole,)
    half = size // 2
    left = _within(base, half, start, stop, most)
    right = _within(base + half, half, start, stop, most)
    return _best((whole, *_both(left, right, most)))


def _both(one: Covers, other: Covers, most: int) -> Covers:
    """Combine the covers of two parts of a range."""
    return _best(
        Cover(a.slots + b.slots, a.waste + b.waste)
        for a in one
        for b in other
        if len(a.slots) + len(b.slots) <= most
    )


def _best(found: Iterable[Cover]) -> Covers:
    """Keep the covers that no other one beats in both numbers."""
    best: list[Cover] = []
    for cover in sorted(found, key=lambda cover: (len(cover.slots), cover.waste)):
        if not best or cover.waste < best[-1].waste:
            best.append(cover)
    return tuple(best)


@lru_cache(maxsize=64)
def plan_watchpoints(watchpoints: tuple[Watchpoint, ...], slots: int) -> WatchpointPlan | None:
    """Share *slots* comparators out so that as little as possible is watched besides.

    Returns None if they do not suffice, however much they watched besides.
    """
    # By how many comparators are used: the waste, and the share of each watchpoint so far.
    plans: dict[int, tuple[int, tuple[Slots, ...]]] = {0: (0, ())}
    for watchpoint in watchpoints:
        further: dict[int, tuple[int, tuple[Slots, ...]]] = {}
        for cover in covers(watchpoint.gva, watchpoint.length, slots):
            for used, (waste, shares) in plans.items():
                total = used + len(cover.slots)
                candidate = waste + cover.waste, (*shares, cover.slots)
                if total <= slots and (total not in further or candidate[0] < further[total][0]):
                    further[total] = candidate
        plans = further
    if not plans:
        return None
    _, shares = min(plans.values(), key=lambda plan: plan[0])
    return dict(zip(watchpoints, shares, strict=True))


# Matching.


def find_hit(
    plan: WatchpointPlan, far: int, accessed: range | None, *, write: bool
) -> Watchpoint | NoWatchpoint:
    """Find the watchpoint that an exception with this FAR belongs to.

    *accessed* is the range that the instruction accesses, if it is known.

    Of several the one nearest to FAR, which may be any byte from the first one accessed to the
    last one watched.
    """
    wanted = BreakpointKind.WRITE if write else BreakpointKind.READ
    candidates = [w for w in plan if w.kind in (wanted, BreakpointKind.ACCESS)]
    if not candidates:
        return NoWatchpoint.UNRELATED
    if accessed is not None:
        start = accessed.start & ~_TAG
        bytes_ = range(start, start + len(accessed))
        touched = [w for w in candidates if _meet(w.watched, bytes_)]
        if not touched and any(_covered(plan[w], bytes_) for w in candidates):
            return NoWatchpoint.BEYOND_RANGE
        candidates = touched or candidates
    nearest = min(candidates, key=lambda watchpoint: watchpoint.distance(far))
    if nearest.distance(far) < _LARGEST_ACCESS:
        return nearest
    address = far & ~_TAG
    if any(_covered(plan[w], range(address, address + 1)) for w in candidates):
        return NoWatchpoint.BEYOND_RANGE
    return NoWatchpoint.UNRELATED


def also_hit(
    plan: WatchpointPlan, hit: Watchpoint, accessed: range, *, write: bool
) -> tuple[Watchpoint, ...]:
    """Return the watchpoints but *hit* that an access to *accessed* hits."""
    wanted = (BreakpointKind.WRITE if write else BreakpointKind.READ, BreakpointKind.ACCESS)
    return tuple(w for w in plan if w is not hit and w.kind in wanted and w.touches(accessed))


def excess_slots(plan: WatchpointPlan, accessed: range) -> frozenset[tuple[int, int]]:
    """Return the comparators that *accessed* triggers only because they watch more than was asked.

    They are pairs of DBGWCR and DBGWVR; the access touches none of the ranges that they serve.
    """
    start = accessed.start & ~_TAG
    bytes_ = range(start, start + len(accessed))
    touched: set[tuple[int, int]] = set()
    excess: set[tuple[int, int]] = set()
    for watchpoint, slots in plan.items():
        found = touched if _meet(watchpoint.watched, bytes_) else excess
        found.update(s.registers(watchpoint.kind) for s in slots if _covered((s,), bytes_))
    return frozenset(excess - touched)


def _covered(slots: Slots, accessed: range) -> bool:
    return any(_meet(range(s.gva & ~_TAG, (s.gva & ~_TAG) + s.size), accessed) for s in slots)


# The table of requests.


class HardwareBreakpoints:
    """The comparators of all vCPUs as one pool: what one has, all have."""

    def __init__(self, breakpoint_slots: int, watchpoint_slots: int) -> None:
        self._breakpoint_slots = breakpoint_slots
        self._watchpoint_slots = watchpoint_slots
        # By canonical address: the kinds that were asked for there.
        self._breakpoints: dict[int, set[BreakpointKind]] = {}
        self._watchpoints: WatchpointPlan = {}
        self._made: DebugRegisters | None = None  # what ``registers`` said, until a change
        self._more: tuple[int, ...] = ()

    def insert(self, kind: BreakpointKind, gva: int, length: int) -> None:
        """Insert a breakpoint or watchpoint; twice is the same as once.

        Raises:
            NoSlot: the comparators do not suffice; nothing has changed.
        """
        if kind in LSC:
            self._insert_watchpoint(Watchpoint(kind, gva, length))
        else:
            self._insert_breakpoint(kind, gva)

    def _insert_breakpoint(self, kind: BreakpointKind, gva: int) -> None:
        """Insert an address. One comparator serves both kinds: Z0 may be served by one, too."""
        key = canonical(gva) & -4
        if key not in self._breakpoints and len(self._breakpoints) >= self._breakpoint_slots:
            raise NoSlot(
                f"all {self._breakpoint_slots} hardware breakpoints are in use; delete one first"
            )
        self._breakpoints.setdefault(key, set()).add(kind)
        self._made = None

    def _insert_watchpoint(self, watchpoint: Watchpoint) -> None:
        if watchpoint in self._watchpoints:
            return
        plan = plan_watchpoints((*self._watchpoints, watchpoint), self._watchpoint_slots)
        if plan is None:
            raise NoSlot(
                f"watching {watchpoint.length} bytes at {watchpoint.gva:#x} takes more than is "
                f"free of {self._watchpoint_slots} hardware watchpoints; delete one first"
            )
        self._watchpoints, self._made = plan, None

    def remove(self, kind: BreakpointKind, gva: int, length: int) -> None:
        """Remove what the same arguments inserted; absent is no error."""
        self._made = None
        if kind in LSC:
            gone = Watchpoint(kind, gva, length)
            rest = tuple(w for w in self._watchpoints if w != gone)
            self._watchpoints = plan_watchpoints(rest, self._watchpoint_slots) or {}
            return
        key = canonical(gva) & -4
        kinds = self._breakpoints.get(key, set())
        kinds.discard(kind)
        if not kinds:
            self._breakpoints.pop(key, None)

    def clear(self) -> None:
        """Remove everything."""
        self._breakpoints.clear()
        self._watchpoints = {}
        self._made = None

    @property
    def addresses(self) -> set[int]:
        """The canonical addresses that have a breakpoint comparator."""
        return set(self._breakpoints)

    def registers(self, *, enabled: bool, more: tuple[int, ...] = ()) -> DebugRegisters:
        """Return the comparators to arm on every vCPU; the same object while nothing changes.

        *more* are addresses that get a breakpoint comparator besides.
        """
        if self._made is None or self._made.enabled != enabled or self._more != more:
            watchpoints = tuple(
                slot.registers(watchpoint.kind)
                for watchpoint, slots in self._watchpoints.items()
                for slot in slots
            )
            addresses = dict.fromkeys((*self._breakpoints, *(canonical(gva) & -4 for gva in more)))
            self._made = DebugRegisters(tuple(map(breakpoint_at, addresses)), watchpoints, enabled)
            self._more = more
        return self._made

    def kinds_at(self, pc: int) -> tuple[BreakpointKind, ...]:
        """Return the kinds that a client asked for at *pc*, where a breakpoint exception is ours.

        SOFTWARE first: a client drops a hardware stop where it knows of none.
        """
        return tuple(sorted(self._breakpoints.get(canonical(pc), ())))

    def hit(self, far: int, accessed: range | None, *, write: bool) -> Watchpoint | NoWatchpoint:
        """Find the watchpoint that an exception belongs to: see ``find_hit``."""
        return find_hit(self._watchpoints, far, accessed, write=write)

    def also_hit(
        self, hit: Watchpoint, accessed: range | None, *, write: bool
    ) -> tuple[Watchpoint, ...]:
        """Return the other watchpoints that an access hits: see ``also_hit``."""
        return also_hit(self._watchpoints, hit, accessed, write=write) if accessed else ()

    def excess(self, accessed: range) -> frozenset[tuple[int, int]]:
        """Return the comparators that an access triggers without a hit: see ``excess_slots``."""
        return excess_slots(self._watchpoints, accessed)
