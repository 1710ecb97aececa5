"""Patches: instructions of ours in a foreign guest's RAM, noted before they are written.

They are BRKs, and plain stores in the place of store-exclusives. A BRK is known by its word, which
no guest uses. So whatever writes breakpoints needs to know nothing of this. A word that is written
over a patch ends it.
"""

import logging
from typing import NamedTuple, Protocol

from gdbstub.errors import MemoryFault
from gdbstub.foreign.memory import ForeignRam
from gdbstub.swbp import BRK

_log = logging.getLogger("gdbstub.foreign")


class Patch(NamedTuple):
    """An instruction of ours, and the one that it stands in the place of."""

    original: bytes
    written: bytes = BRK


class PatchLog(Protocol):
    """A record of patches that outlives this process."""

    def patched(self, ipa: int, patch: Patch) -> None:
        """Note a *patch* that is about to be written."""
        ...

    def restored(self, ipa: int) -> None:
        """Note that the patch at *ipa* is gone."""
        ...


class NoLog:
    """A log that keeps nothing."""

    def patched(self, ipa: int, patch: Patch) -> None:
        """Do nothing."""

    def restored(self, ipa: int) -> None:
        """Do nothing."""


class Patches:
    """Writes to RAM, and the patches among them."""

    def __init__(self, ram: ForeignRam, log: PatchLog) -> None:
        self._ram = ram
        self._log = log
        self._patches: dict[int, Patch] = {}

    def __len__(self) -> int:
        """Return the number of patches in RAM."""
        return len(self._patches)

    def write(self, ipa: int, data: bytes, *, temporary: bool = False) -> None:
        """Write RAM, and keep account of patches: BRKs, and whatever else is *temporary*.

        Raises:
            MemoryFault: it cannot be written.
        """
        is_patch = temporary or data == BRK
        if is_patch:
            original = self._ram.read(ipa, len(data))
            if original != BRK:  # else it is there already, maybe by a debugger before us
                patch = Patch(original, data)
                if self._patches.get(ipa) != patch:  # the word may be another by now
                    self._log.patched(ipa, patch)
                    self._patches[ipa] = patch
        self._ram.write(ipa, data)
        if len(data) == len(BRK) and not is_patch and ipa in self._patches:
            self._forget(ipa)

    def withdraw(self) -> None:
        """Restore the words under all patches that are still in RAM."""
        for ipa, patch in tuple(self._patches.items()):
            restore(self._ram, ipa, patch)
            self._forget(ipa)

    def _forget(self, ipa: int) -> None:
        del self._patches[ipa]
        self._log.restored(ipa)


def restore(ram: ForeignRam, ipa: int, patch: Patch) -> bool:
    """Undo the *patch* at *ipa*, if it is there; return True if it was."""
    try:
        if ram.read(ipa, len(patch.written)) != patch.written:
            return False  # the guest has written over it: its word stands
        ram.write(ipa, patch.original)
    except MemoryFault as fault:
        _log.error("the patch at physical %#x is left in the guest: %s", ipa, fault)
        return False
    return True
