"""Instructions as a vCPU fetches them, cached: they are looked up before each step.

Words and translations may be old. A caller to whom that matters calls ``now``.
"""

import struct

from gdbstub.aarch64.mmu import SMALLEST_PAGE
from gdbstub.debug.caches import Cache, Caches, Content
from gdbstub.debug.memory import VirtualMemory
from gdbstub.errors import MemoryFault
from gdbstub.machine import Machine

_WORDS = 4096
_PAGES = 256
_BLOCK = 64  # bytes
_MADE_OF = Content.CODE | Content.BREAKPOINTS


class InstructionCache:
    """Instructions of one vCPU. Its own thread calls this, or another while it is parked."""

    def __init__(self, machine: Machine, memory: VirtualMemory, caches: Caches, index: int) -> None:
        """Begin empty."""
        self._machine = machine
        self._memory = memory.live
        self._index = index
        self._words: Cache[int, int] = caches.add(
            "instructions", _MADE_OF, Cache(_WORDS), vcpu=index
        )
        self._pages: Cache[int, int] = caches.add(
            "pages of instructions", _MADE_OF, Cache(_PAGES), vcpu=index
        )

    def __call__(self, gva: int) -> int:
        """Return the word at *gva* as it was when it was looked up first; 0 without memory.

        BRKs of ours show.
        """
        words = self._words
        if (word := words.entries.get(gva)) is None:
            words.misses += 1
            return self._read_block(gva)
        words.hits += 1
        return word

    def now(self, gva: int) -> int:
        """Return the word that is at *gva* now; 0 without memory."""
        word = int.from_bytes(self._read(gva, 4, None), "little")
        self._words.put(gva, word)
        return word

    def _read_block(self, gva: int) -> int:
        """Return the word at *gva*, and cache those beside it: they are likely to be next."""
        start = gva & -_BLOCK
        data = self._read(start, _BLOCK, self._pages.get(gva & -SMALLEST_PAGE))
        words: tuple[int, ...] = struct.unpack(f"<{len(data) // 4}I", data)
        self._words.put_all(zip(range(start, start + _BLOCK, 4), words, strict=False))
        place, unaligned = divmod(gva - start, 4)
        if not unaligned and place < len(words):
            return words[place]
        self._words.put(gva, 0)
        return 0

    def _read(self, gva: int, length: int, ipa: int | None) -> bytes:
        """Read whole words of one page, which is at *ipa* if that is known; none without memory."""
        page = gva & -SMALLEST_PAGE
        try:
            if ipa is None:
                ipa = self._memory.translate(self._index, page).ipa
                self._pages.put(page, ipa)
            data = self._machine.read_memory(ipa + gva - page, length)
        except MemoryFault:
            return b""
        return data[: len(data) & -4]
