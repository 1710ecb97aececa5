"""Guest RAM: anonymous memory of ours that KVM shows a guest, read and written beside it.

It holds one range and translates nothing; addresses are the guest's physical ones (``ipa``).
"""

import mmap
from collections.abc import Callable, Sequence

from gdbstub.errors import MachineError, MemoryFault
from gdbstub.kvm import abi as kvm_abi
from gdbstub.kvm import host_memory
from gdbstub.kvm.abi import CData, ffi


class GuestRam:
    """*size* bytes of RAM from *base* on."""

    def __init__(self, base: int, size: int, uncached: Callable[[], bool]) -> None:
        """Map it; a page costs nothing until it is touched.

        *uncached* says at any time whether the guest may pass the caches by.

        Raises:
            MachineError: this host has not so much memory.
        """
        host_memory.survive()
        self.base = base
        self.size = size
        self._uncached = uncached
        self._mapping = _anonymous(size)
        self._hva = int(ffi.cast("uintptr_t", ffi.from_buffer(self._mapping)))

    @property
    def region(self) -> CData:
        """What KVM_SET_USER_MEMORY_REGION takes."""
        region = ffi.new("struct kvm_userspace_memory_region *")
        region.guest_phys_addr = self.base
        region.memory_size = self.size
        region.userspace_addr = self._hva
        return region

    def clear(self) -> None:
        """Make it all zero, and as cheap as it was at first, when no VM has it."""
        self._mapping.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """Give it back, when no VM has it any more: from now on there is none. Idempotent."""
        self.size = 0
        self._mapping.close()

    def read(self, ipa: int, length: int) -> bytes:
        """Read RAM, short where it ends or is broken (``Machine.read_memory``)."""
        offset, inside = self._span(ipa, length)
        at = self._hva + offset
        if (data := self._read(at, inside)) is not None:
            return data
        end, parts = at + inside, list[bytes]()
        while at < end:
            part = self._read(at, min(end, at - at % mmap.PAGESIZE + mmap.PAGESIZE) - at)
            if part is None:
                break
            parts.append(part)
            at += len(part)
        if not parts:
            raise MemoryFault(f"the host's memory behind {ipa:#x} is broken")
        return b"".join(parts)

    def unchanged(self, words: Sequence[tuple[int, bytes]]) -> Callable[[], bool]:
        """A question about RAM for again and again (``Machine.unchanged``)."""
        hvas = [(self._hva + self._span(ipa, 8)[0], data) for ipa, data in words]
        same = host_memory.unchanged([(hva, int.from_bytes(d, "little")) for hva, d in hvas])

        def ask() -> bool:
            if not self.size:
                return False
            if not self._uncached():
                return same()
            return all(self._read(hva, 8) == data for hva, data in hvas)

        return ask

    def _read(self, hva: int, length: int) -> bytes | None:
        """The bytes; None where some of them are broken."""
        # A line that the guest has written past the caches may be in them, as it was before.
        if self._uncached() and not host_memory.clean(hva, length):
            return None
        return host_memory.read(hva, length)

    def write(self, ipa: int, data: bytes) -> None:
        """Write RAM, and make it what is fetched (``Machine.write_memory``)."""
        offset, inside = self._span(ipa, len(data))
        if inside < len(data):
            raise MemoryFault(f"RAM ends at {ipa + inside:#x}")
        hva = self._hva + offset
        if not host_memory.write(hva, data):
            raise MemoryFault(f"the host's memory within {len(data)} bytes at {ipa:#x} is broken")
        if self._uncached():
            host_memory.clean(hva, len(data))
        kvm_abi.clear_cache()(ffi.cast("char *", hva), ffi.cast("char *", hva + len(data)))

    def _span(self, ipa: int, length: int) -> tuple[int, int]:
        """An offset into RAM, and how much of *length* lies within."""
        offset = ipa - self.base
        if not 0 <= offset < self.size:
            raise MemoryFault(f"no RAM at {ipa:#x}")
        return offset, min(length, self.size - offset)


def _anonymous(size: int) -> mmap.mmap:
    """Private memory that costs nothing until it is touched."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
    try:
        return mmap.mmap(-1, size, flags=flags)
    except OSError as error:
        raise MachineError(f"no memory for {size} bytes of guest RAM: {error.strerror}") from error
