"""Instructions as a vCPU would fetch them, looked up fast enough to do so before each step.

Translations are remembered and may be old: who finds what matters must look again.
"""

import struct
from itertools import count

from gdbstub.debug.memory import VirtualMemory
from gdbstub.errors import MemoryFault
from gdbstub.machine import Machine

_PAGE = 4096  # the smallest granule
_REMEMBERED = 4096  # words
_BLOCK = 64  # bytes
_WORDS = struct.Struct("<I").iter_unpack


class InstructionCache:
    """The instructions of one vCPU, which is ours to read at every call."""

    def __init__(self, machine: Machine, memory: VirtualMemory, index: int) -> None:
        """Remember nothing yet."""
        self._machine = machine
        self._memory = memory
        self._index = index
        self._words: dict[int, int] = {}
        self._pages: dict[int, int] = {}

    def forget(self) -> None:
        """Look everything up again."""
        self._words.clear()
        self._pages.clear()

    def __call__(self, gva: int) -> int:
        """The word that RAM held at *gva* when it was met first; 0 where there is none.

        BRKs of ours are not hidden.
        """
        if (word := self._words.get(gva)) is None:
            if len(self._words) >= _REMEMBERED:
                self.forget()
            self._read_block(gva)
            word = self._words.setdefault(gva, 0)
        return word

    def now(self, gva: int) -> int:
        """The word that is there now."""
        self._pages.pop(gva & -_PAGE, None)
        word = self._words[gva] = int.from_bytes(self._read(gva, 4), "little")
        return word

    def _read_block(self, gva: int) -> None:
        """Those beside it will be wanted, too."""
        start = gva & -_BLOCK
        for at, (word,) in zip(count(start, 4), _WORDS(self._read(start, _BLOCK)), strict=False):
            self._words.setdefault(at, word)

    def _read(self, gva: int, length: int) -> bytes:
        """Bytes of one page, whole words; nothing where there is no memory."""
        page = gva & -_PAGE
        ipa = self._pages.get(page)
        try:
            if ipa is None:
                now = self._memory.as_of_now(self._index)
                ipa = self._pages[page] = now.translate(self._index, page).ipa
            data = self._machine.read_memory(ipa + gva - page, length)
        except MemoryFault:
            return b""
        return data[: len(data) & -4]
