"""Regions of virtual memory: mapped ranges and holes, by the translation tables of a vCPU.

``aarch64.mmu`` walks the tables.
"""

from collections.abc import Callable, Sequence
from typing import Final

from gdbstub.aarch64.mmu import Walk
from gdbstub.aarch64.permissions import permissions
from gdbstub.capabilities import MemoryRegion

_TOP: Final = 1 << 64
#: Walks for one region: as many entries as a table of 4 KiB has.
_MOST: Final = 512


def region(walk: Callable[[int], Walk], gva: int, ram: Sequence[range]) -> MemoryRegion:
    """Return the region that has *gva*, up to where 512 entries of tables lead at most.

    *walk* translates an address. With the MMU off a region is one of *ram*, or a gap.
    """
    found = walk(gva)
    if not found.regime.sctlr.M:
        return _flat(gva, ram)
    if not found.steps:
        return _outside(found)
    start = gva & -_size(found)
    end, allowed = start, _permissions(found)
    for _ in range(_MOST):
        end += _size(found)
        if end >= _TOP:
            return MemoryRegion(start, _TOP - start, allowed)
        found = walk(end)
        if not found.steps or _permissions(found) != allowed:
            break
    return MemoryRegion(start, end - start, allowed)


def _size(walk: Walk) -> int:
    """Return the size of what the last entry on the way translates."""
    return 1 << walk.granule + (3 - walk.steps[-1].level) * (walk.granule - 3)


def _permissions(walk: Walk) -> str:
    if walk.mapping is None:
        return ""
    allowed = permissions(walk)
    return f"r{'w' if allowed.writes else ''}{'x' if allowed.executes else ''}"


def _outside(walk: Walk) -> MemoryRegion:
    """Return the hole between the two halves, or the half without tables."""
    low, high = 1 << 64 - walk.regime.tcr.T0SZ, _TOP - (1 << 64 - walk.regime.tcr.T1SZ)
    if walk.gva < low:
        return MemoryRegion(0, low)
    if walk.gva >= high:
        return MemoryRegion(high, _TOP - high)
    return MemoryRegion(low, high - low)


def _flat(gva: int, ram: Sequence[range]) -> MemoryRegion:
    start, end = 0, _TOP
    for each in ram:
        if gva in each:
            return MemoryRegion(each.start, len(each), "rwx")
        if each.stop <= gva:
            start = each.stop
        elif each.start > gva:
            end = min(end, each.start)
    return MemoryRegion(start, end - start)
