"""Instructions as a vCPU would fetch them, looked up fast enough to do so before each step.

Translations are remembered and may be old: who finds what matters must look again.
"""

from gdbstub.errors import MemoryFault
from gdbstub.machine import Machine
from gdbstub.virtual_memory import VirtualMemory

_PAGE = 4096  # the smallest granule
_REMEMBERED = 64  # pages


class Fetch:
    """The instructions of one vCPU, which is ours to read at every call."""

    def __init__(self, machine: Machine, memory: VirtualMemory, index: int) -> None:
        """Remember nothing yet."""
        self._machine = machine
        self._memory = memory
        self._index = index
        self._pages: dict[int, int] = {}

    def __call__(self, gva: int) -> int:
        """The word that RAM held at *gva* when that page was met first; 0 where there is none.

        BRKs of ours are not hidden.
        """
        page = gva & -_PAGE
        ipa = self._pages.get(page)
        try:
            if ipa is None:
                if len(self._pages) >= _REMEMBERED:
                    self._pages.clear()
                now = self._memory.as_of_now()
                ipa = self._pages[page] = now.translate(self._index, page).ipa
            return int.from_bytes(self._machine.read_memory(ipa + gva - page, 4), "little")
        except MemoryFault:
            return 0

    def now(self, gva: int) -> int:
        """The word that is there now."""
        self._pages.pop(gva & -_PAGE, None)
        return self(gva)
