"""Memory errors of the host, made on purpose: a page of this process's is broken for good.

Source: linux/Documentation/admin-guide/mm/memory-hotplug.rst, hard_offline_page;
linux/Documentation/admin-guide/mm/pagemap.rst.
"""

import mmap
import os
from pathlib import Path
from typing import Final

import pytest

from gdbstub.kvm.abi import ffi
from gdbstub.kvm_backend import KvmMachine
from tests.contract.programs import BASE

_BREAK: Final = Path("/sys/devices/system/memory/hard_offline_page")
_FRAME: Final = (1 << 55) - 1


def break_page(hva: int) -> None:
    """Break the page of this process at *hva*. Nobody is told until it is touched."""
    if os.geteuid():
        pytest.skip("only root may break memory")
    with open("/proc/self/pagemap", "rb") as file:
        entry = os.pread(file.fileno(), 8, hva // mmap.PAGESIZE * 8)
    frame = int.from_bytes(entry, "little") & _FRAME
    assert frame, "the page is not there yet: touch it"
    _BREAK.write_text(f"{frame * mmap.PAGESIZE:#x}")


def break_ram(machine: KvmMachine, ipa: int) -> None:
    """Break a page of a guest."""
    machine.write_memory(ipa, b"whole")
    region = machine.ram.region
    break_page(region.userspace_addr + ipa - BASE)


def touched_page() -> mmap.mmap:
    """A page of our own."""
    page = mmap.mmap(-1, mmap.PAGESIZE)
    page[:5] = b"whole"
    return page


def address(page: mmap.mmap) -> int:
    return int(ffi.cast("uintptr_t", ffi.from_buffer(page)))
