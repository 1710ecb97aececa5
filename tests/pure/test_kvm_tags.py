"""Allocation tags by KVM's rules: whole pages only, and so many as it could.

KVM_ARM_MTE_COPY_TAGS is played here, as a port: the lab's emulation has but two tags a page.
"""

import mmap

import pytest

from gdbstub.errors import MachineError, MemoryFault
from gdbstub.kvm import abi
from gdbstub.kvm.abi import CData, ffi
from gdbstub.kvm.tags import KvmTags

PAGE = mmap.PAGESIZE
EACH = PAGE // 16
BASE, PAGES = 0x4000_0000, 4


class Kernel:
    """linux/arch/arm64/kvm/guest.c, kvm_vm_ioctl_mte_copy_tags(), by its documentation."""

    def __init__(self) -> None:
        self.tags = bytearray(index % 16 for index in range(PAGES * EACH))
        self.broken: int | None = None
        self.errno = 0
        self.calls: dict[int, int] = {}

    def ioctl(self, fd: int, request: int, argument: CData, /) -> int:
        assert (fd, request) == (7, abi.ARM_MTE_COPY_TAGS)
        assert not (argument.guest_ipa | argument.length) % PAGE
        if self.errno:
            return -1
        done = 0
        while done < argument.length and argument.guest_ipa + done != self.broken:
            theirs = ffi.cast("uint8_t *", argument.addr) + done // 16
            ours = (argument.guest_ipa - BASE + done) // 16
            if argument.flags == abi.TAGS_FROM_GUEST:
                ffi.buffer(theirs, EACH)[:] = self.tags[ours : ours + EACH]
            else:
                self.tags[ours : ours + EACH] = ffi.buffer(theirs, EACH)[:]
            done += PAGE
        return done


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


RANGES = [
    *((0, 1), (5, 3), (0, EACH), (EACH - 1, 2), (EACH, 1), (3, 2 * EACH)),
    *((PAGES * EACH - 1, 1), (0, PAGES * EACH)),
]


@pytest.mark.parametrize(("first", "count"), RANGES)
def test_what_is_written_is_what_changes(kernel: Kernel, first: int, count: int) -> None:
    tags, before = KvmTags(kernel, 7, BASE, PAGES * PAGE), bytes(kernel.tags)
    assert tags.read_tags(BASE + 16 * first, count) == before[first : first + count]
    new = bytes((index + 7) % 16 for index in range(count))
    tags.write_tags(BASE + 16 * first, new)
    assert kernel.tags == before[:first] + new + before[first + count :]
    assert tags.read_tags(BASE + 16 * first, count) == new


@pytest.mark.parametrize(
    ("ipa", "count"), [(BASE - 16, 1), (BASE - 16, 2), (BASE + PAGES * PAGE, 1), (BASE, 1 << 40)]
)
def test_what_is_no_ram(kernel: Kernel, ipa: int, count: int) -> None:
    with pytest.raises(MemoryFault, match="no RAM"):
        KvmTags(kernel, 7, BASE, PAGES * PAGE).read_tags(ipa, count)


def test_a_broken_page(kernel: Kernel) -> None:
    kernel.broken, before = BASE + PAGE, bytes(kernel.tags)
    tags = KvmTags(kernel, 7, BASE, PAGES * PAGE)
    with pytest.raises(MemoryFault, match=f"{BASE + PAGE:#x} is broken"):
        tags.write_tags(BASE, bytes(2 * EACH))
    assert kernel.tags == before


def test_what_kvm_refuses(kernel: Kernel) -> None:
    kernel.errno = 22
    with pytest.raises(MachineError, match="KVM_ARM_MTE_COPY_TAGS: Invalid argument"):
        KvmTags(kernel, 7, BASE, PAGES * PAGE).read_tags(BASE, 1)
