"""BRKs of ours in a foreign guest's RAM: noted in the journal before they are written.

A BRK is known by its word, which no guest uses. So whatever writes breakpoints needs to know
nothing of this. A word that is written over a BRK ends it.
"""

import logging
from typing import Protocol

from gdbstub.errors import MemoryFault
from gdbstub.foreign.memory import ForeignRam
from gdbstub.swbp import BRK

_log = logging.getLogger("gdbstub.foreign")


class PatchLog(Protocol):
    """A record of BRKs that outlives this process."""

    def patched(self, ipa: int, original: bytes) -> None:
        """Note a BRK that is about to be written over *original*."""
        ...

    def restored(self, ipa: int) -> None:
        """Note that the BRK at *ipa* is gone."""
        ...


class NoLog:
    """A log that keeps nothing."""

    def patched(self, ipa: int, original: bytes) -> None:
        """Do nothing."""

    def restored(self, ipa: int) -> None:
        """Do nothing."""


class Patches:
    """Writes to RAM, and the BRKs among them."""

    def __init__(self, ram: ForeignRam, log: PatchLog) -> None:
        self._ram = ram
        self._log = log
        self._originals: dict[int, bytes] = {}

    def __len__(self) -> int:
        """Return the number of BRKs in RAM."""
        return len(self._originals)

    def write(self, ipa: int, data: bytes) -> None:
        """Write RAM, and keep account of BRKs.

        Raises:
            MemoryFault: it cannot be written.
        """
        if data == BRK and ipa not in self._originals:
            original = self._ram.read(ipa, len(BRK))
            if original != BRK:  # else a BRK that a debugger before us has left
                self._log.patched(ipa, original)
                self._originals[ipa] = original
        self._ram.write(ipa, data)
        if len(data) == len(BRK) and data != BRK and ipa in self._originals:
            self._forget(ipa)

    def withdraw(self) -> None:
        """Restore the words under all BRKs that are still in RAM."""
        for ipa, original in tuple(self._originals.items()):
            restore(self._ram, ipa, original)
            self._forget(ipa)

    def _forget(self, ipa: int) -> None:
        del self._originals[ipa]
        self._log.restored(ipa)


def restore(ram: ForeignRam, ipa: int, original: bytes) -> bool:
    """Write *original* over a BRK at *ipa*, if there is one; return True if there was."""
    try:
        if ram.read(ipa, len(BRK)) != BRK:
            return False  # the guest has written over it: its word stands
        ram.write(ipa, original)
    except MemoryFault as fault:
        _log.error("the breakpoint at physical %#x is left in the guest: %s", ipa, fault)
        return False
    return True
