"""Text and kind of memory at a physical address, as far as they say what may be put there."""

from typing import Final, Protocol

from gdbstub.aarch64.mmu import SMALLEST_PAGE
from gdbstub.debug.guest_comparators import sets_mdscr
from gdbstub.debug.patch_sites import AROUND, BEFORE
from gdbstub.errors import MemoryFault
from gdbstub.machine import Machine

#: Size and alignment of a piece of text.
_PIECE: Final = 64 << 10


class PhysicalText(Protocol):
    """Source of text: ``VirtualMemory``."""

    def read_physical(self, ipa: int, length: int) -> bytes:
        """Read RAM with our BRKs hidden, short at its end."""
        ...


def obstacle_at(machine: Machine, ipa: int) -> str:
    """Say why no BRK may be at *ipa*, which can be read: it is ROM; empty if it is RAM."""
    layout = machine.capabilities.layout
    if layout is None or any(ipa in each for each in layout.ram_ranges):
        return ""
    return "ROM"


class GuestText:
    """Text of one guest."""

    def __init__(self, memory: PhysicalText) -> None:
        """Read from *memory*."""
        self._memory = memory
        # By a piece's physical address: True if it set MDSCR_EL1 when it was first looked at. To
        # look each time would cost more than all else of a breakpoint.
        self._sets_mdscr: dict[int, bool] = {}

    def reset(self) -> None:
        """Forget what was seen: the guest starts over."""
        self._sets_mdscr.clear()

    def around(self, ipa: int) -> bytes:
        """Read the word at *ipa* and those beside it; nothing where *ipa* is not in RAM.

        The word before a page's first one is 0: it is in the page that is mapped before.
        """
        before = BEFORE if ipa % SMALLEST_PAGE else 0
        try:
            around = bytes(BEFORE - before) + self._memory.read_physical(
                ipa - before, AROUND - BEFORE + before
            )
        except MemoryFault:
            return b""
        return around if len(around) >= BEFORE + 4 else b""

    def debugs_itself(self, ipa: int) -> bool:
        """Return True if the text about *ipa* sets MDSCR_EL1: in its piece or one beside it."""
        piece = ipa - ipa % _PIECE
        return any(map(self._piece_sets_mdscr, (piece, piece - _PIECE, piece + _PIECE)))

    def _piece_sets_mdscr(self, piece: int) -> bool:
        known = self._sets_mdscr.get(piece)
        if known is None:
            try:
                text = self._memory.read_physical(piece, _PIECE)
            except MemoryFault:
                text = b""
            known = self._sets_mdscr[piece] = sets_mdscr(text)
        return known
