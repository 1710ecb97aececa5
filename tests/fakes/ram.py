"""Guest RAM that several emulators share; it knows nothing of who executes from it."""

import ctypes
import mmap
from typing import Final

from gdbstub.errors import MemoryFault

BASE: Final = 0x4000_0000


class Ram:
    """*size* bytes at ``BASE``, at one host address for their whole life."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.end = BASE + size
        self._bytes = mmap.mmap(-1, size)
        self.hva: Final = ctypes.addressof(ctypes.c_char.from_buffer(self._bytes))

    def __contains__(self, ipa: int) -> bool:
        return BASE <= ipa < self.end

    def read(self, ipa: int, length: int) -> bytes:
        if ipa not in self:
            raise MemoryFault(f"no RAM at {ipa:#x}")
        return self._bytes[ipa - BASE : ipa - BASE + min(length, self.end - ipa)]

    def write(self, ipa: int, data: bytes) -> None:
        if ipa not in self or ipa + len(data) > self.end:
            raise MemoryFault(f"no RAM for {len(data)} bytes at {ipa:#x}")
        self._bytes[ipa - BASE : ipa - BASE + len(data)] = data

    def clear(self) -> None:
        self._bytes[:] = bytes(self.size)
