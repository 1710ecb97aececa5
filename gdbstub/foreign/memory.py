"""RAM of a foreign guest: areas of the VMM's memory, by the guest's physical addresses.

Which areas they are is found elsewhere (``slots.py``). Source: linux/mm/mprotect.c,
linux/arch/arm64/kvm/mmu.c (maintenance of caches when a page is mapped into a guest).
"""

import mmap
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from gdbstub.errors import MemoryFault


class MemorySlot(NamedTuple):
    """*size* bytes of memory at *ipa*, which the VMM has at *hva*."""

    ipa: int
    size: int
    hva: int
    #: The guest may only read it: it is ROM, or flash.
    rom: bool = False

    @property
    def end(self) -> int:
        """The first physical address after it."""
        return self.ipa + self.size

    def __str__(self) -> str:
        """Return the slot in the notation of ``--ram``."""
        return f"{self.ipa:#x}={self.size:#x}@{self.hva:#x}"


class RamArea(NamedTuple):
    """A mapping of the VMM's that has RAM, and its *protection* as mprotect(2) takes it."""

    start: int
    end: int
    protection: int


class VmmMemory(Protocol):
    """Memory of the VMM, by its own addresses, as ``ProcessMemory`` has it."""

    def read(self, address: int, length: int) -> bytes:
        """Read; short where the memory ends."""
        ...

    def write(self, address: int, data: bytes) -> int:
        """Write; return how much was written."""
        ...


class ForeignRam:
    """The slots of one guest, and access to them through /proc/PID/mem."""

    def __init__(
        self,
        memory: VmmMemory,
        slots: Sequence[MemorySlot],
        read_only: str,
        synchronise: Callable[[int, int], None],
    ) -> None:
        """*read_only* is the reason that nothing may be written, empty if it may.

        *synchronise* makes vCPUs fetch what was written to an address and length of the VMM.
        """
        self._memory = memory
        self.slots = tuple(sorted(slots))
        self.read_only = read_only
        self._synchronise = synchronise

    @property
    def size(self) -> int:
        """Bytes of RAM."""
        return sum(slot.size for slot in self.slots if not slot.rom)

    @property
    def ranges(self) -> Sequence[range]:
        """Physical addresses of RAM, ascending; adjacent ranges are one."""
        found: list[range] = []
        for slot in self.slots:
            if slot.rom:
                continue
            if found and found[-1].stop == slot.ipa:
                found[-1] = range(found[-1].start, slot.end)
            else:
                found.append(range(slot.ipa, slot.end))
        return found

    def hva(self, ipa: int) -> tuple[int, int]:
        """Return the VMM's address of *ipa*, and how many bytes follow in its slot.

        Raises:
            MemoryFault: no memory at *ipa*.
        """
        slot = self._slot(ipa)
        return slot.hva + ipa - slot.ipa, slot.end - ipa

    def _slot(self, ipa: int) -> MemorySlot:
        for slot in self.slots:
            if slot.ipa <= ipa < slot.end:
                return slot
        if not self.slots:
            raise MemoryFault(f"RAM is not known: {self.read_only}")
        raise MemoryFault(f"no RAM at {ipa:#x}")

    def read(self, ipa: int, length: int) -> bytes:
        """Read RAM or ROM, short where it ends or cannot be read (``Machine.read_memory``)."""
        hva, inside = self.hva(ipa)
        wanted, parts = min(length, inside), list[bytes]()
        while wanted:
            try:
                part = self._memory.read(hva, wanted)
            except OSError as error:
                if parts:
                    break
                what = f"the VMM's memory behind {ipa:#x} cannot be read: {error.strerror}"
                raise MemoryFault(what) from None
            if not part:
                break
            parts.append(part)
            hva, wanted = hva + len(part), wanted - len(part)
        return b"".join(parts)

    def write(self, ipa: int, data: bytes) -> None:
        """Write RAM, for instruction fetches too (``Machine.write_memory``)."""
        hva, inside = self.hva(ipa)
        if self.read_only:
            raise MemoryFault(f"RAM is read-only: {self.read_only}")
        if self._slot(ipa).rom:
            raise MemoryFault(f"the guest's memory at {ipa:#x} is ROM")
        if inside < len(data):
            raise MemoryFault(f"RAM ends at {ipa + inside:#x}")
        try:
            written = self._memory.write(hva, data)
        except OSError as error:
            what = f"the VMM's memory behind {ipa:#x} cannot be written: {error.strerror}"
            raise MemoryFault(what) from None
        if written < len(data):
            raise MemoryFault(f"the VMM's memory behind {ipa + written:#x} cannot be written")
        self._synchronise(hva, len(data))


def pages(hva: int, length: int) -> tuple[int, int]:
    """Return the first page of a range, and the length of all its pages."""
    start = hva - hva % mmap.PAGESIZE
    end = -(-(hva + length) // mmap.PAGESIZE) * mmap.PAGESIZE
    return start, end - start
