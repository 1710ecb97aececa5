"""Software breakpoints: BRK patches in guest RAM, keyed by physical address.

``debug/placement.py`` decides at each resume where a BRK may be, by the translations that
``debug/locations.py`` finds; this module writes them, and the original words back. RAM changes in
``apply`` and ``withdraw``, and for one BRK in ``remove_temporarily`` and ``reinsert``. Reads and
writes of a client go through ``mask`` and ``write``, which hide the BRKs.
"""

import logging
import threading
from bisect import bisect_left, insort
from collections.abc import Collection
from itertools import islice
from typing import Final, Protocol

from gdbstub.errors import MemoryFault

_log = logging.getLogger(__name__)

#: ``BRK #0xdb9``: an immediate that no kernel uses (arch/arm64/include/asm/brk-imm.h).
BRK_COMMENT: Final = 0xDB9
BRK: Final = (0xD4200000 | BRK_COMMENT << 5).to_bytes(4, "little")

#: ``BRK`` with any immediate.
_BRK_MASK, _ANY_BRK = 0xFFE0001F, 0xD4200000
_REPLACED: Final = (
    "the guest has put a BRK of its own at physical %#x, where a breakpoint is, and may have saved "
    "the breakpoint's as its text: use hbreak there, or monitor break prefer hardware"
)

#: Number of BRKs that each ``apply`` looks at besides those that were asked for or taken back.
_LOOKED_AT: Final = 8


class PatchableMemory(Protocol):
    """Guest-physical memory, as ``Machine`` has it."""

    def read_memory(self, ipa: int, length: int) -> bytes:
        """Read RAM."""
        ...

    def write_memory(self, ipa: int, data: bytes) -> None:
        """Write RAM, instruction caches included."""
        ...


class SoftwareBreakpoints:
    """BRKs that are wanted, by address and physical place, and those that are in RAM."""

    def __init__(self, ram: PatchableMemory) -> None:
        """Begin without requests."""
        self._ram = ram
        self._requests: dict[int, set[int]] = {}  # gva -> ipas
        self._wanted: dict[int, set[int]] = {}  # the same the other way round: ipa -> gvas
        self._patches: dict[int, bytes] = {}  # ipa -> original word
        self._ordered: list[int] = []  # the keys of ``_patches``, ascending
        self._out: set[int] = set()  # ipas of BRKs that are temporarily removed
        # One vCPU's thread may call ``owns`` while another's removes that BRK temporarily.
        self._lock = threading.Lock()
        self._due: set[int] = set()  # ipas that the next ``apply`` must look at

    def __bool__(self) -> bool:
        """Return True if any is requested or still in RAM."""
        return bool(self._requests or self._patches)

    def insert(self, gva: int, ipa: int) -> None:
        """Request a BRK at *ipa*, which the client knows as *gva*."""
        self._requests.setdefault(gva, set()).add(ipa)
        self._wanted.setdefault(ipa, set()).add(gva)
        self._due.add(ipa)

    def remove(self, gva: int) -> bool:
        """Remove the request for *gva*; return True if there was one."""
        ipas = self._requests.pop(gva, None)
        for ipa in ipas or ():
            self._wanted[ipa].discard(gva)
            if not self._wanted[ipa]:
                del self._wanted[ipa]
            self._due.add(ipa)
        return ipas is not None

    def clear(self, *, but: Collection[int] = ()) -> None:
        """Remove every request, except those for the virtual addresses *but*."""
        for gva in self._requests.keys() - set(but):
            self.remove(gva)

    def apply(self) -> bool:
        """Make RAM hold a BRK at every requested place and nowhere else; True if RAM changed.

        The guest may have written over a BRK. This looks for that where the client has just
        requested one again, and at a few others in turn. It does not look at all of them: the
        cost of a resume must not grow with their number.
        """
        if not (self._patches or self._due):
            return False
        changed = False
        oldest = tuple(islice(self._patches, _LOOKED_AT))
        for ipa in oldest:
            self._patches[ipa] = self._patches.pop(ipa)  # now the newest
        for ipa in self._due.union(oldest):
            if ipa not in self._wanted:
                changed |= self._restore(ipa)
            else:
                changed |= self._insert(ipa)
        self._due.clear()
        return changed

    def withdraw(self) -> None:
        """Remove every BRK from RAM; requests stay."""
        for ipa in tuple(self._patches):
            self._restore(ipa)
        self._due.update(self._wanted)

    def forget(self) -> None:
        """Take every BRK to be gone, because RAM is new; requests stay."""
        self._patches.clear()
        self._ordered.clear()
        self._out.clear()
        self._due.update(self._wanted)

    def places(self, gva: int) -> frozenset[int]:
        """Return the physical addresses of the request for *gva*, none without a request."""
        return frozenset(self._requests.get(gva, ()))

    def owns(self, ipa: int) -> bool:
        """Return True if a BRK that was executed at *ipa* is ours: recorded, and still in RAM."""
        with self._lock:
            if ipa in self._out:
                return True  # executed before it was removed temporarily
            return ipa in self._patches and self._ram.read_memory(ipa, 4) == BRK

    def original_word(self, ipa: int) -> bytes:
        """Return the word that our BRK at *ipa* replaces."""
        return self._patches[ipa]

    def within(self, ipa: int, length: int) -> bool:
        """Return True if any BRK is in RAM from *ipa* on."""
        return bool(self._patches and self._within(ipa, length))

    def mask(self, ipa: int, data: bytes) -> bytes:
        """Return *data*, read from *ipa*, with the original words in place of BRKs."""
        patched = self._patches and self._within(ipa, len(data))
        if not patched:
            return data
        shown = bytearray(data)
        for place in patched:
            _overlay(shown, ipa, self._patches[place], place)
        return bytes(shown)

    def write(self, ipa: int, data: bytes) -> None:
        """Write *data* as a client does: BRKs stay, and their original words change.

        Each word is whole in RAM before its BRK is, for memory that keeps account of BRKs.

        Raises:
            MemoryFault: it cannot be written.
        """
        patched = self._within(ipa, len(data))
        self._ram.write_memory(ipa, data)
        for place in patched:
            word = bytearray(self._patches[place])
            _overlay(word, place, data, ipa)
            self._patches[place] = bytes(word)
            self._ram.write_memory(place, bytes(word))
            self._ram.write_memory(place, BRK)

    def remove_temporarily(self, ipa: int) -> None:
        """Write the original word over our BRK at *ipa*. ``reinsert`` undoes it."""
        with self._lock:
            self._ram.write_memory(ipa, self._patches[ipa])
            self._out.add(ipa)

    def reinsert(self, ipa: int) -> None:
        """Put a temporarily removed BRK back, unless the word there has changed meanwhile."""
        with self._lock:
            if ipa not in self._out:
                return
            self._out.remove(ipa)
            if self._ram.read_memory(ipa, 4) == self._patches[ipa]:
                self._ram.write_memory(ipa, BRK)

    def _within(self, ipa: int, length: int) -> list[int]:
        """Return the addresses in a range whose words are our BRKs, also in part."""
        if len(self._patches) * 4 < length:
            ordered = self._ordered
            places = ordered[bisect_left(ordered, ipa - 3) : bisect_left(ordered, ipa + length)]
        else:
            first = (ipa - 3) & -4
            places = [p for p in range(first, ipa + length, 4) if p in self._patches]
        return [place for place in places if self.owns(place)]

    def _keep_original(self, ipa: int, word: bytes) -> None:
        if ipa not in self._patches:
            insort(self._ordered, ipa)
        self._patches[ipa] = word

    def _insert(self, ipa: int) -> bool:
        """Make RAM hold a BRK at *ipa*; True if it did not. A page that is broken has none."""
        try:
            if self.owns(ipa):
                return False
            original = self._ram.read_memory(ipa, 4)
            self._ram.write_memory(ipa, BRK)
            if ipa in self._patches and _is_brk(original):
                _log.warning(_REPLACED, ipa)
        except MemoryFault as fault:
            _log.warning("no breakpoint can be inserted at physical %#x: %s", ipa, fault)
            return False
        self._keep_original(ipa, original)
        return True

    def _restore(self, ipa: int) -> bool:
        """Drop the patch at *ipa*; True if its original word had to be written."""
        original = self._patches.pop(ipa, None)
        self._out.discard(ipa)
        if original is None:
            return False
        del self._ordered[bisect_left(self._ordered, ipa)]
        try:
            if self._ram.read_memory(ipa, 4) != BRK:
                return False  # the guest has written over it: its word stands
            self._ram.write_memory(ipa, original)
        except MemoryFault as fault:  # the other BRKs must go all the same
            _log.warning("the breakpoint at physical %#x is lost: %s", ipa, fault)
        return True


def _is_brk(word: bytes) -> bool:
    return int.from_bytes(word, "little") & _BRK_MASK == _ANY_BRK


def _overlay(onto: bytearray, at: int, data: bytes, place: int) -> None:
    """Copy the part of *data*, which lies at *place*, that overlaps *onto*, which lies at *at*."""
    start, end = max(at, place), min(at + len(onto), place + len(data))
    if start < end:
        onto[start - at : end - at] = data[start - place : end - place]
