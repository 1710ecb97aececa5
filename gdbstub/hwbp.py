"""Hardware breakpoints and watchpoints: from what a client asks for to comparator values.

It arms nothing: ``registers`` says what the machine should hold. Source: Arm ARM D2.8
"Breakpoint exceptions" and D2.9 "Watchpoint exceptions".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gdbstub.aarch64.sysreg import DBGBCR, DBGWCR
from gdbstub.errors import NoSlot
from gdbstub.machine import DebugRegisters
from gdbstub.target import Kind

#: Enabled, an unlinked address match of a whole instruction, at EL1 and EL0.
ENABLED_BREAKPOINT: Final = DBGBCR(E=1, PMC=0b11, BAS=0b1111)

_LSC: Final = {Kind.READ: 0b01, Kind.WRITE: 0b10, Kind.ACCESS: 0b11}
_MASK_BITS: Final = range(3, 32)  # DBGWCR.MASK: 8 bytes to 2 GB
_VA_BITS: Final = 53
_TAG: Final = 0xFF << 56


def canonical(gva: int) -> int:
    """*gva* as a comparator wants it: its top bits repeat bit 52 (DBGBVR.RESS)."""
    low = gva & (1 << _VA_BITS) - 1
    sign = 1 << _VA_BITS - 1
    return ((low ^ sign) - sign) & (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Slot:
    """One comparator's part of a watchpoint: it watches ``size`` bytes from ``gva``."""

    gva: int
    size: int

    def registers(self, kind: Kind) -> tuple[int, int]:
        """DBGWCR and DBGWVR."""
        if self.size >= 8:
            control = DBGWCR(E=1, PAC=0b11, LSC=_LSC[kind], BAS=0xFF)
            if self.size > 8:
                control = DBGWCR(control, MASK=self.size.bit_length() - 1)
            return control, canonical(self.gva)
        bas = (1 << self.size) - 1 << (self.gva & 7)
        return DBGWCR(E=1, PAC=0b11, LSC=_LSC[kind], BAS=bas), canonical(self.gva & -8)


@dataclass(frozen=True, slots=True)
class Watchpoint:
    """What a client asked for, and its key."""

    kind: Kind
    gva: int
    length: int

    def distance(self, far: int) -> int:
        """How many bytes *far* is away from the watched range; 0 inside.

        FAR may name any byte of the access, also one before the range, and may be tagged
        (linux/arch/arm64/kernel/hw_breakpoint.c, get_distance_from_watchpoint).
        """
        far, gva = far & ~_TAG, self.gva & ~_TAG
        if far < gva:
            return gva - far
        return max(0, far - (gva + self.length - 1))

    def clamp(self, far: int) -> int:
        """The watched byte nearest to *far*: a client drops an address outside its range."""
        inside = min(max(far & ~_TAG, self.gva & ~_TAG), (self.gva & ~_TAG) + self.length - 1)
        return self.gva & _TAG | inside


def plan(gva: int, length: int) -> Iterator[Slot]:
    """The fewest comparators that watch exactly *length* bytes from *gva*.

    A comparator watches a run of bytes within 8 aligned ones, or an aligned power of two.
    """
    end = gva + length
    while gva < end:
        if gva & 7 or end - gva < 8:
            size = min(8 - (gva & 7), end - gva)
        else:
            aligned = (gva & -gva).bit_length() - 1 if gva else _MASK_BITS[-1]
            size = 1 << min(aligned, (end - gva).bit_length() - 1, _MASK_BITS[-1])
        yield Slot(gva, size)
        gva += size


class HardwareBreakpoints:
    """The comparators of all vCPUs as one pool: what one has, all have."""

    def __init__(self, breakpoint_slots: int, watchpoint_slots: int) -> None:
        self._breakpoint_slots = breakpoint_slots
        self._watchpoint_slots = watchpoint_slots
        self._breakpoints: dict[int, set[Kind]] = {}  # by canonical address: who asked for it
        self._watchpoints: dict[Watchpoint, tuple[Slot, ...]] = {}

    def insert(self, kind: Kind, gva: int, length: int) -> None:
        """Plan one more; twice is once.

        Raises:
            NoSlot: they do not suffice; nothing has changed.
        """
        if kind in _LSC:
            self._insert_watchpoint(Watchpoint(kind, gva, length))
        else:
            self._insert_breakpoint(kind, gva)

    def _insert_breakpoint(self, kind: Kind, gva: int) -> None:
        """One comparator serves both kinds: Z0 gets one where nothing is mapped yet."""
        key = canonical(gva) & -4
        if key not in self._breakpoints and len(self._breakpoints) >= self._breakpoint_slots:
            raise NoSlot(
                f"all {self._breakpoint_slots} hardware breakpoints are in use; delete one first"
            )
        self._breakpoints.setdefault(key, set()).add(kind)

    def _insert_watchpoint(self, watchpoint: Watchpoint) -> None:
        if watchpoint in self._watchpoints:
            return
        free = self._watchpoint_slots - sum(map(len, self._watchpoints.values()))
        slots: list[Slot] = []
        for slot in plan(watchpoint.gva, watchpoint.length):
            slots.append(slot)
            if len(slots) > free:
                raise NoSlot(
                    f"watching {watchpoint.length} bytes at {watchpoint.gva:#x} takes more than "
                    f"the {free} free of {self._watchpoint_slots} hardware watchpoints"
                )
        self._watchpoints[watchpoint] = tuple(slots)

    def remove(self, kind: Kind, gva: int, length: int) -> None:
        """Take back what the same arguments inserted; absent is no error."""
        if kind in _LSC:
            self._watchpoints.pop(Watchpoint(kind, gva, length), None)
            return
        key = canonical(gva) & -4
        kinds = self._breakpoints.get(key, set())
        kinds.discard(kind)
        if not kinds:
            self._breakpoints.pop(key, None)

    def clear(self) -> None:
        """Take everything back."""
        self._breakpoints.clear()
        self._watchpoints.clear()

    def registers(self, *, enabled: bool) -> DebugRegisters:
        """What every vCPU's comparators should hold."""
        watchpoints = tuple(
            slot.registers(watchpoint.kind)
            for watchpoint, slots in self._watchpoints.items()
            for slot in slots
        )
        breakpoints = tuple((int(ENABLED_BREAKPOINT), gva) for gva in self._breakpoints)
        return DebugRegisters(breakpoints, watchpoints, enabled)

    def stops_at(self, pc: int) -> Kind | None:
        """What a client asked for at *pc*, where a breakpoint exception is ours.

        SOFTWARE where both were: a client drops a hardware stop where it knows of none.
        """
        return min(self._breakpoints.get(canonical(pc), ()), default=None)

    def hit(self, far: int, *, write: bool) -> Watchpoint | None:
        """The watchpoint that an exception with this FAR belongs to: the nearest of its kind."""
        wanted = Kind.WRITE if write else Kind.READ
        candidates = [w for w in self._watchpoints if w.kind in (wanted, Kind.ACCESS)]
        return min(candidates, key=lambda watchpoint: watchpoint.distance(far), default=None)
