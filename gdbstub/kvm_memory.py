"""Guest RAM: anonymous memory of ours that KVM shows a guest, read and written beside it.

It holds one range and translates nothing; addresses are the guest's physical ones (``ipa``).
"""

import mmap
import struct
from typing import Final

from gdbstub import kvm_abi
from gdbstub.errors import MachineError, MemoryFault
from gdbstub.kvm_abi import CData, ffi

#: Bytes that are written one by one: see ``_store``.
_FEW: Final = 128


class Ram:
    """*size* bytes of RAM from *base* on."""

    def __init__(self, base: int, size: int) -> None:
        """Map it; a page costs nothing until it is touched.

        Raises:
            MachineError: this host has not so much memory.
        """
        self.base = base
        self.size = size
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
        """Read RAM, short at its end (``Machine.read_memory``)."""
        offset, inside = self._span(ipa, length)
        return self._mapping[offset : offset + inside]

    def write(self, ipa: int, data: bytes) -> None:
        """Write RAM, and make it what is fetched (``Machine.write_memory``)."""
        offset, inside = self._span(ipa, len(data))
        if inside < len(data):
            raise MemoryFault(f"RAM ends at {ipa + inside:#x}")
        start = ffi.cast("char *", self._hva + offset)
        if len(data) <= _FEW:
            _store(self._hva + offset, data)
        else:
            self._mapping[offset : offset + len(data)] = data
        kvm_abi.clear_cache()(start, start + len(data))

    def _span(self, ipa: int, length: int) -> tuple[int, int]:
        """An offset into RAM, and how much of *length* lies within."""
        offset = ipa - self.base
        if not 0 <= offset < self.size:
            raise MemoryFault(f"no RAM at {ipa:#x}")
        return offset, min(length, self.size - offset)


def _store(hva: int, data: bytes) -> None:
    """Write *data* by whole words where it has any.

    An instruction must never be seen half-written, and a C library's copy promises nothing
    (Arm ARM B2.2.1). QEMU's TCG also misses code that its SVE stores overwrite, by which
    glibc copies up to 128 bytes; plain stores it sees.
    """
    if hva % 4 or len(data) % 4:
        octets = ffi.cast("uint8_t *", hva)
        for at, octet in enumerate(data):
            octets[at] = octet
        return
    words = ffi.cast("uint32_t *", hva)
    for at, (word,) in enumerate(struct.iter_unpack("<I", data)):
        words[at] = word


def _anonymous(size: int) -> mmap.mmap:
    """Private memory that costs nothing until it is touched."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
    try:
        return mmap.mmap(-1, size, flags=flags)
    except OSError as error:
        raise MachineError(f"no memory for {size} bytes of guest RAM: {error.strerror}") from error
