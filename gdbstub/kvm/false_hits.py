"""False hits of one vCPU that the native core passes over, as it has them.

It decides nothing: ``debug/false_hits.py`` says which hits are plain.
"""

from collections.abc import Sequence
from typing import Final

from gdbstub.false_hits import FalseHit
from gdbstub.kvm.abi import CData, ffi
from gdbstub.kvm.guest_debug import stepping
from gdbstub.machine import DebugRegisters

#: The most places of one vCPU. One more takes the place of the first.
_PLACES: Final = 32
_ANYWHERE: Final = (1 << 64) - 1


class NativeFalseHits:
    """The table of one ``struct vcpu``, for the thread that owns the vCPU."""

    def __init__(self, vcpu: CData) -> None:
        """Begin with none."""
        self._vcpu = vcpu
        self._table: CData = ffi.new(f"struct hit[{_PLACES}]")
        vcpu.hits = self._table
        # By their places in the table, with what these point to.
        self._hits: list[tuple[FalseHit, tuple[CData, ...]]] = []
        self._taken: list[tuple[FalseHit, int]] = []  # counts of those that were replaced

    def add(self, hit: FalseHit) -> None:
        """Add *hit*, or put it in place of another one at its address."""
        place = next((n for n, (each, _) in enumerate(self._hits) if _same_place(each, hit)), None)
        if place is None:
            place = len(self._hits) if len(self._hits) < _PLACES else 0
        if place < len(self._hits):
            self._take(place)
        code, step = (
            ffi.new("uint8_t[]", hit.code),
            stepping(DebugRegisters(hit.others, enabled=True)),
        )
        programs = [ffi.new("uint8_t[]", condition) for condition in hit.conditions]
        conditions = ffi.new("uint8_t *[]", programs)
        self._table[place] = {
            "gva": hit.gva,
            "ipa": _ANYWHERE if hit.ipa is None else hit.ipa,
            "is_brk": hit.brk,
            "word": hit.word,
            "next": hit.following or 0,
            "step": step,
            "code_gva": hit.code_gva,
            "code_size": len(hit.code),
            "code": code,
            "condition_count": len(programs),
            "conditions": conditions,
        }
        self._hits[place : place + 1] = [(hit, (code, step, conditions, *programs))]

    def enable(self, passes: bool) -> None:
        """Pass over them from now on, or not."""
        self._vcpu.hit_count = len(self._hits) if passes else 0

    def clear(self) -> None:
        """Forget all."""
        self._vcpu.hit_count = 0
        self._hits.clear()
        self._taken.clear()

    def take(self) -> Sequence[tuple[FalseHit, int]]:
        """Return how many hits were passed over since the last call."""
        for place in range(len(self._hits)):
            self._take(place)
        taken, self._taken = self._taken, []
        return taken

    def _take(self, place: int) -> None:
        struct = self._table[place]
        if struct.count:
            self._taken.append((self._hits[place][0], struct.count))
            struct.count = 0


def _same_place(one: FalseHit, other: FalseHit) -> bool:
    return (one.gva, one.brk) == (other.gva, other.brk)
