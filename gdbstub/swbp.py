"""Software breakpoints: BRK patches in guest RAM, keyed by physical address.

A request is a record; RAM changes only in ``apply`` and ``withdraw``, so that the removing
and inserting that GDB does around every stop costs nothing. It translates no address.
"""

import threading
from bisect import bisect_left
from collections.abc import Collection
from itertools import islice
from typing import Final, Protocol

#: ``BRK #0xdb9``: an immediate that no kernel uses (arch/arm64/include/asm/brk-imm.h).
BRK_COMMENT: Final = 0xDB9
BRK: Final = (0xD4200000 | BRK_COMMENT << 5).to_bytes(4, "little")

#: How many BRKs a resume looks at that nothing has been said of since the last one.
_LOOKED_AT: Final = 8


class PatchableMemory(Protocol):
    """Guest-physical memory, as ``Machine`` offers it."""

    def read_memory(self, ipa: int, length: int) -> bytes:
        """Read RAM."""
        ...

    def write_memory(self, ipa: int, data: bytes) -> None:
        """Write RAM, instruction caches included."""
        ...


class SoftwareBreakpoints:
    """The requests of a client, and what of them is in RAM.

    One address may stand for several places: asked for again after the guest has switched
    its tables, it is a breakpoint there *and* where it was. Taking it back takes back all.
    """

    def __init__(self, ram: PatchableMemory) -> None:
        self._ram = ram
        self._requests: dict[int, set[int]] = {}  # gva -> ipas
        self._wanted: dict[int, set[int]] = {}  # ipa -> gvas; the same, the other way round
        self._patches: dict[int, bytes] = {}  # ipa -> the word that belongs there
        self._ordered: list[int] | None = None  # those ipas; None: not known
        self._out: set[int] = set()  # ipas that are out for a moment
        # One vCPU's thread may ask whose its BRK is while another's lifts it.
        self._lock = threading.Lock()
        self._due: set[int] = set()  # ipas that ``apply`` must look at

    def __bool__(self) -> bool:
        """Whether any is requested or still in RAM."""
        return bool(self._requests or self._patches)

    def insert(self, gva: int, ipa: int) -> None:
        """Ask for a breakpoint at *ipa*, which the client knows as *gva*."""
        self._requests.setdefault(gva, set()).add(ipa)
        self._wanted.setdefault(ipa, set()).add(gva)
        self._due.add(ipa)

    def remove(self, gva: int) -> bool:
        """Take the request for *gva* back; whether there was one."""
        ipas = self._requests.pop(gva, None)
        for ipa in ipas or ():
            self._wanted[ipa].discard(gva)
            if not self._wanted[ipa]:
                del self._wanted[ipa]
            self._due.add(ipa)
        return ipas is not None

    def clear(self, *, but: Collection[int] = ()) -> None:
        """Take every request back *but* those for certain addresses."""
        for gva in self._requests.keys() - set(but):
            self.remove(gva)

    def apply(self) -> None:
        """Make RAM hold a BRK of ours at every requested place and nowhere else.

        The guest may have rewritten its text over one. That is looked for where the client has
        just asked again, and at a few others each time, in turn: not at all of them, for a
        resume must not cost more the more there are.
        """
        if not (self._patches or self._due):
            return
        oldest = tuple(islice(self._patches, _LOOKED_AT))
        for ipa in oldest:
            self._patches[ipa] = self._patches.pop(ipa)  # now the newest
        for ipa in self._due.union(oldest):
            if ipa not in self._wanted:
                self._restore(ipa)
            elif not self.owns(ipa):
                self._ordered = None
                self._patches[ipa] = self._ram.read_memory(ipa, 4)
                self._ram.write_memory(ipa, BRK)
        self._due.clear()

    def withdraw(self) -> None:
        """Take every BRK of ours out of RAM; requests stay."""
        for ipa in tuple(self._patches):
            self._restore(ipa)
        self._due.update(self._wanted)

    def forget(self) -> None:
        """RAM is new: nothing of ours is in it. Requests stay."""
        self._patches.clear()
        self._ordered = None
        self._out.clear()
        self._due.update(self._wanted)

    def places(self, gva: int) -> frozenset[int]:
        """The physical addresses that *gva* stands for, while it is asked for."""
        return frozenset(self._requests.get(gva, ()))

    def asked_for(self, gva: int) -> bool:
        """Whether there is a request for this address; a page may have others."""
        return gva in self._requests

    def owns(self, ipa: int) -> bool:
        """Whether a BRK that was executed at *ipa* is ours: in the table, and still in RAM."""
        with self._lock:
            if ipa in self._out:
                return True  # it was executed before
            return ipa in self._patches and self._ram.read_memory(ipa, 4) == BRK

    def original_word(self, ipa: int) -> bytes:
        """The word that belongs at *ipa*, where a BRK of ours is."""
        return self._patches[ipa]

    def mask(self, ipa: int, data: bytes) -> bytes:
        """*data* as read from *ipa*, with the words that belong there instead of BRKs."""
        patched = self._within(ipa, len(data))
        if not patched:
            return data
        shown = bytearray(data)
        for place in patched:
            _overlay(shown, ipa, self._patches[place], place)
        return bytes(shown)

    def write_through(self, ipa: int, data: bytes) -> bytes:
        """*data* as it must be written at *ipa*: BRKs stay, and the words under them change."""
        patched = self._within(ipa, len(data))
        if not patched:
            return data
        stored = bytearray(data)
        for place in patched:
            word = bytearray(self._patches[place])
            _overlay(word, place, data, ipa)
            self._patches[place] = bytes(word)
            _overlay(stored, ipa, BRK, place)
        return bytes(stored)

    def remove_temporarily(self, ipa: int) -> None:
        """Write the original word over our BRK at *ipa*, until ``reinsert``."""
        with self._lock:
            self._ram.write_memory(ipa, self._patches[ipa])
            self._out.add(ipa)

    def reinsert(self, ipa: int) -> None:
        """Put the BRK back that is lifted, unless the word there was changed meanwhile."""
        with self._lock:
            if ipa not in self._out:
                return
            self._out.remove(ipa)
            if self._ram.read_memory(ipa, 4) == self._patches[ipa]:
                self._ram.write_memory(ipa, BRK)

    def _within(self, ipa: int, length: int) -> list[int]:
        """The patched places that overlap a range and still hold our BRK."""
        if len(self._patches) * 4 < length:
            if (ordered := self._ordered) is None:
                ordered = self._ordered = sorted(self._patches)
            places = ordered[bisect_left(ordered, ipa - 3) : bisect_left(ordered, ipa + length)]
        else:
            first = (ipa - 3) & -4
            places = [p for p in range(first, ipa + length, 4) if p in self._patches]
        return [place for place in places if self.owns(place)]

    def _restore(self, ipa: int) -> None:
        # The guest may have rewritten its text over our BRK: then its word stands.
        original = self._patches.pop(ipa, None)
        self._ordered = None
        self._out.discard(ipa)
        if original is not None and self._ram.read_memory(ipa, 4) == BRK:
            self._ram.write_memory(ipa, original)


def _overlay(onto: bytearray, at: int, data: bytes, place: int) -> None:
    """Copy what of *data*, lying at *place*, overlaps *onto*, lying at *at*."""
    start, end = max(at, place), min(at + len(onto), place + len(data))
    if start < end:
        onto[start - at : end - at] = data[start - place : end - place]
