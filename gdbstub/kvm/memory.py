"""Guest RAM: anonymous memory of this process that KVM maps into a guest.

It holds one range and translates nothing; addresses are the guest's physical ones (``ipa``).
"""

import mmap
from collections.abc import Callable, Sequence

from gdbstub.errors import MachineError, MemoryFault
from gdbstub.kvm import host_memory
from gdbstub.kvm.abi import CData, ffi


class GuestRam:
    """*size* bytes of RAM from *base* on."""

    def __init__(self, base: int, size: int, uncached: Callable[[], bool]) -> None:
        """Map it; a page costs nothing until it is touched.

        *uncached* returns True while a vCPU may access RAM past the caches.

        Raises:
            MachineError: the host has less memory than *size*.
        """
        host_memory.survive()
        self.base = base
        self.size = size
        self._uncached = uncached
        self._mapping = _anonymous(size)
        self._hva = int(ffi.cast("uintptr_t", ffi.from_buffer(self._mapping)))
        #: The same as the native core's ``struct ram``.
        self.native: CData = ffi.new("struct ram *", [base, size, ffi.cast("uint8_t *", self._hva)])

    @property
    def region(self) -> CData:
        """The argument of KVM_SET_USER_MEMORY_REGION."""
        region = ffi.new("struct kvm_userspace_memory_region *")
        region.guest_phys_addr = self.base
        region.memory_size = self.size
        region.userspace_addr = self._hva
        return region

    def clear(self) -> None:
        """Zero it and give its pages back; no VM may have it."""
        self._mapping.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """Unmap it; no VM may have it. From now on there is no RAM. Idempotent."""
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
        """Return a function that compares words of RAM (``RamComparison.unchanged``)."""
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
        """Read *length* bytes; None where the host has a memory error in them."""
        # A line that the guest has written past the caches may be in them, as it was before.
        if self._uncached() and not host_memory.clean(hva, length):
            return None
        return host_memory.read(hva, length)

    def write(self, ipa: int, data: bytes) -> None:
        """Write RAM, for instruction fetches too (``Machine.write_memory``)."""
        offset, inside = self._span(ipa, len(data))
        if inside < len(data):
            raise MemoryFault(f"RAM ends at {ipa + inside:#x}")
        hva = self._hva + offset
        if not host_memory.write(hva, data):
            raise MemoryFault(f"the host's memory within {len(data)} bytes at {ipa:#x} is broken")
        if self._uncached():
            host_memory.clean(hva, len(data))
        host_memory.fetch(hva, len(data))

    def hva(self, ipa: int) -> int | None:
        """Return where this process has *ipa*; None if it has it nowhere."""
        offset = ipa - self.base
        return self._hva + offset if 0 <= offset < self.size else None

    def _span(self, ipa: int, length: int) -> tuple[int, int]:
        """Return the offset of *ipa* into RAM, and how much of *length* lies within."""
        offset = ipa - self.base
        if not 0 <= offset < self.size:
            raise MemoryFault(f"no RAM at {ipa:#x}")
        return offset, min(length, self.size - offset)


def _anonymous(size: int) -> mmap.mmap:
    """Map private memory; a page costs nothing until it is touched."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
    try:
        return mmap.mmap(-1, size, flags=flags)
    except OSError as error:
        raise MachineError(
            f"no memory for {size >> 20} MiB of guest RAM: {error.strerror}; give the guest less "
            "by --memory, or see ulimit -v"
        ) from error
