"""Accesses of the native core to memory of this process, and what SIGBUS does."""

import mmap
import os
import signal
import subprocess
import sys
from itertools import pairwise

import pytest

from gdbstub.kvm import host_memory
from tests.bounds import HANGS
from tests.contract.broken import address

SOUND = bytes(range(1, 251)) * 40


@pytest.mark.own_kvm
def test_every_length_and_alignment_is_copied_and_nothing_beside_it() -> None:
    memory = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    start = address(memory)
    for offset in range(9):
        for length in (*range(1, 35), 4095, 4096, 4097):
            memory[:] = bytes(len(memory))
            assert host_memory.write(start + offset, SOUND[:length])
            assert memory[: offset + length + 9] == bytes(offset) + SOUND[:length] + bytes(9)
            assert host_memory.read(start + offset, length) == SOUND[:length]


@pytest.mark.own_kvm
def test_cleaning_changes_nothing_that_is_seen() -> None:
    memory = mmap.mmap(-1, 4 * mmap.PAGESIZE)
    memory[:] = (SOUND * 2)[: len(memory)]
    for start, end in pairwise((0, 1, 63, 64, 65, 8191, len(memory))):
        assert host_memory.clean(address(memory) + start, end - start)
    assert memory[:] == (SOUND * 2)[: len(memory)]


BEGIN = """
import mmap, os, signal
from gdbstub.kvm import host_memory
from gdbstub.kvm.abi import ffi
from tests.contract.broken import address, break_page, touched_page
host_memory.survive()
"""
QUEUE = """
import cffi
libc = cffi.FFI()
libc.cdef("long syscall(long number, ...);")
info = ffi.new("int[32]", [signal.SIGBUS, 0, {code}])
number = 138  # rt_sigqueueinfo
pid, signum = ffi.cast("long", os.getpid()), ffi.cast("long", signal.SIGBUS)
assert libc.dlopen(None).syscall(number, pid, signum, info) == 0
print("alive")
"""
#: Code that a process runs, and the status that it must end with.
ENDS = {
    "an error not met yet": (QUEUE.format(code=5), 0),
    "a signal that somebody sent": ("os.kill(os.getpid(), signal.SIGBUS); print('alive')", -7),
    "a bus error of another kind": (
        "import tempfile\nfile = tempfile.TemporaryFile()\nfile.truncate(mmap.PAGESIZE)\n"
        "page = mmap.mmap(file.fileno(), 0)\nfile.truncate(0)\nprint(page[0])",
        -7,
    ),
    "an error met elsewhere": (
        "page = touched_page()\nbreak_page(address(page))\nprint(page[:1])",
        -7,
    ),
    "an error met by our own": (
        "page = touched_page()\nbreak_page(address(page))\n"
        "assert host_memory.read(address(page), 1) is None\n"
        "assert not host_memory.write(address(page) + 8, b'x')\n"
        # An emulated DC CIVAC does nothing, so it meets nothing either.
        "host_memory.clean(address(page), 8)\nprint('alive')",
        0,
    ),
}


@pytest.mark.own_kvm
@pytest.mark.parametrize("name", ENDS)
def test_what_sigbus_does(name: str) -> None:
    if "break_page" in ENDS[name][0] and os.geteuid():
        pytest.skip("only root may break memory")
    body, status = ENDS[name]
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + body], capture_output=True, text=True, timeout=HANGS
    )
    assert (done.returncode, done.stdout) == (status, "alive\n" if status == 0 else ""), done
    assert -status in (0, signal.SIGBUS)
