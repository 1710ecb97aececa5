"""Allocation tags of a guest's RAM, which KVM copies page by page (KVM_ARM_MTE_COPY_TAGS).

It enables MTE for no VM. Source: linux/Documentation/virt/kvm/api.rst, 4.130.
"""

import mmap

from gdbstub.aarch64.mte import GRANULE
from gdbstub.errors import MemoryFault
from gdbstub.kvm import abi
from gdbstub.kvm.abi import CData, ffi
from gdbstub.kvm.port import IoctlPort, ioctl


class KvmTags:
    """Implements ``RamTags`` for the VM *vm* with *size* bytes of RAM from *base* on."""

    def __init__(self, port: IoctlPort, vm: int, base: int, size: int) -> None:
        self._port = port
        self._vm = vm
        self._base = base
        self._end = base + size

    def read_tags(self, ipa: int, count: int) -> bytes:
        """Read the tags of *count* granules (``RamTags.read_tags``)."""
        first, pages = self._pages(ipa, count)
        self._copy(first, pages, abi.TAGS_FROM_GUEST)
        at = (ipa - first) // GRANULE
        return bytes(ffi.buffer(pages)[at : at + count])

    def write_tags(self, ipa: int, tags: bytes) -> None:
        """Write tags from the granule at *ipa* on (``RamTags.write_tags``)."""
        first, pages = self._pages(ipa, len(tags))
        self._copy(first, pages, abi.TAGS_FROM_GUEST)
        at = (ipa - first) // GRANULE
        ffi.buffer(pages)[at : at + len(tags)] = tags
        self._copy(first, pages, abi.TAGS_TO_GUEST)

    def _pages(self, ipa: int, count: int) -> tuple[int, CData]:
        """Return the first page that holds one of *count* granules, and room for all their tags."""
        end, page = ipa + count * GRANULE, mmap.PAGESIZE
        if not self._base <= ipa <= end <= self._end:
            raise MemoryFault(f"no RAM for {count} tags at {ipa:#x}")
        first = ipa - ipa % page
        return first, ffi.new("uint8_t[]", -(-(end - first) // page) * page // GRANULE)

    def _copy(self, ipa: int, pages: CData, way: int) -> None:
        request = ffi.new("struct kvm_arm_copy_mte_tags *")
        request.guest_ipa = ipa
        request.length = len(pages) * GRANULE
        request.addr = int(ffi.cast("uintptr_t", pages))
        request.flags = way
        copied = ioctl(self._port, self._vm, abi.ARM_MTE_COPY_TAGS, request)
        if copied != request.length:
            raise MemoryFault(f"the host's memory behind {ipa + copied:#x} is broken")
