"""Access to host memory that may have a hardware error, and cache maintenance, by the native core.

It knows nothing of a guest.
"""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Final

from gdbstub.errors import MachineError
from gdbstub.kvm.abi import CData, ffi
from gdbstub.kvm.native import core

_WORD: Final = 8
#: Places for words; a thread that reads takes one out meanwhile.
_words: Final[list[CData]] = []


@functools.cache
def survive() -> None:
    """Survive memory errors of the host from now on: an access reports them.

    Raises:
        MachineError: SIGBUS cannot be handled.
    """
    if code := core().memory_survive():
        raise MachineError(f"SIGBUS cannot be handled: {os.strerror(code)}", code)


def read(address: int, length: int) -> bytes | None:
    """Read the bytes at *address*; None where a memory error is among them."""
    if length <= _WORD:
        return _read_word(address, length)
    data = bytearray(length)
    failed = core().memory_read(ffi.from_buffer(data), ffi.cast("void *", address), length)
    return None if failed else bytes(data)


def _read_word(address: int, length: int) -> bytes | None:
    """Read up to 8 bytes, such as a descriptor or an instruction, into a buffer that is kept."""
    try:
        word = _words.pop()
    except IndexError:
        word = ffi.new("uint64_t *")
    failed = core().memory_read(word, ffi.cast("void *", address), length)
    data: bytes = ffi.buffer(word, length)[:]
    _words.append(word)
    return None if failed else data


def write(address: int, data: bytes) -> bool:
    """Write *data*, by whole words where it has any; return False at a memory error."""
    to = ffi.cast("void *", address)
    return not core().memory_write(to, ffi.from_buffer(data), len(data))


def clean(address: int, length: int) -> bool:
    """Clean and invalidate the lines of a range to the point of coherency (DC CIVAC).

    Returns False at a memory error.
    """
    return not core().memory_clean(ffi.cast("void *", address), length)


def fetch(address: int, length: int) -> None:
    """Have what was written to a range fetched from it (DC CVAU, IC IVAU and barriers)."""
    core().memory_fetch(ffi.cast("void *", address), length)


def unchanged(words: Sequence[tuple[int, int]]) -> Callable[[], bool]:
    """Return a function that is True while each address holds the word beside it."""
    pairs = ffi.new("uint64_t[]", [each for pair in words for each in pair])
    same, count = core().memory_same, len(words)
    return lambda: not same(pairs, count)
