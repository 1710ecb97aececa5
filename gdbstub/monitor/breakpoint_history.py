"""What a client asked to break on and how often each was hit, also after it took it back.

GDB takes every breakpoint back at each stop and asks again before the guest goes on; what
stays in the guest meanwhile is what ``Breakpoints`` last armed, and is not kept here.
"""

from typing import Final

from gdbstub.target import BreakpointKind, Stopped, StopReason

#: More than these, oldest first, are forgotten.
REMEMBERED: Final = 1000

_KINDS: Final = {
    StopReason.SWBREAK: BreakpointKind.SOFTWARE,
    StopReason.HWBREAK: BreakpointKind.HARDWARE,
    StopReason.WATCH: BreakpointKind.WRITE,
    StopReason.RWATCH: BreakpointKind.READ,
    StopReason.AWATCH: BreakpointKind.ACCESS,
}


class Entry:
    """One that was asked for, and whether it still is."""

    def __init__(self, kind: BreakpointKind, gva: int, length: int) -> None:
        """It is to be asked for."""
        self.kind = kind
        self.gva = gva
        self.length = length
        self.asked = False
        self.hits = 0
        #: The physical ones of a software breakpoint.
        self.places: frozenset[int] = frozenset()
        #: The numbers of runs when it was asked for and taken back.
        self.since = 0
        self.until = 0


class BreakpointHistory:
    """Entries by what was asked for, the latest last."""

    def __init__(self, runs: int = 0) -> None:
        """Begin empty, after so many *runs*."""
        self.entries: dict[tuple[BreakpointKind, int, int], Entry] = {}
        #: How often the guest was set going: what is asked for is armed then, and only then.
        self.runs = runs

    def insert(self, kind: BreakpointKind, gva: int, length: int, places: frozenset[int]) -> None:
        """It was asked for."""
        key = kind, gva, length
        entry = self.entries.pop(key, None) or Entry(*key)
        if not entry.asked and not self.armed(entry):
            entry.since = self.runs
        entry.asked, entry.places = True, places or entry.places
        self.entries[key] = entry
        if len(self.entries) > REMEMBERED:
            del self.entries[next(iter(self.entries))]

    def remove(self, kind: BreakpointKind, gva: int, length: int) -> None:
        """It was taken back."""
        if entry := self.entries.get((kind, gva, length)):
            entry.asked, entry.until = False, self.runs

    def armed(self, entry: Entry) -> bool:
        """Whether it is in the guest, as it was when that last ran."""
        return entry.since < self.runs and (entry.asked or entry.until == self.runs)

    def hit(self, stopped: Stopped, pc: int) -> None:
        """A client is told of a stop."""
        kind = _KINDS[stopped.stop]
        if kind in (BreakpointKind.SOFTWARE, BreakpointKind.HARDWARE):
            found = self.entries.get((kind, pc, 4))
        else:
            found = next((e for e in self.entries.values() if _watches(e, kind, stopped.gva)), None)
        if found:
            found.hits += 1


def _watches(entry: Entry, kind: BreakpointKind, gva: int) -> bool:
    return entry.kind is kind and entry.gva <= gva < entry.gva + entry.length
