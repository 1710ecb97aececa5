"""Breakpoint history: requests of a client and their hits, kept after the request is removed.

GDB removes every breakpoint at each stop and inserts it again before the guest goes on. What is
in the guest meanwhile is in ``Breakpoints``, not here.
"""

from typing import Final

from gdbstub.target import BreakpointKind, Stopped, StopReason

#: The most entries. The oldest are dropped.
REMEMBERED: Final = 1000

_KINDS: Final = {
    StopReason.SWBREAK: BreakpointKind.SOFTWARE,
    StopReason.HWBREAK: BreakpointKind.HARDWARE,
    StopReason.WATCH: BreakpointKind.WRITE,
    StopReason.RWATCH: BreakpointKind.READ,
    StopReason.AWATCH: BreakpointKind.ACCESS,
}


class Entry:
    """A breakpoint or watchpoint that was requested once."""

    def __init__(self, kind: BreakpointKind, gva: int, length: int) -> None:
        """Make the entry of a request that is about to be noted."""
        self.kind = kind
        self.gva = gva
        self.length = length
        #: True while the request stands.
        self.requested = False
        self.hits = 0
        #: Numbers of runs when it was requested and removed.
        self.since = 0
        self.until = 0


class BreakpointHistory:
    """Entries by kind, address and length, the latest request last."""

    def __init__(self, runs: int = 0) -> None:
        """Begin without entries, after so many *runs*."""
        self.entries: dict[tuple[BreakpointKind, int, int], Entry] = {}
        #: Number of times that the guest was resumed. Requests are armed then.
        self.runs = runs

    def insert(self, kind: BreakpointKind, gva: int, length: int) -> None:
        """Note a request."""
        key = kind, gva, length
        entry = self.entries.pop(key, None) or Entry(*key)
        if not entry.requested and not self.armed(entry):
            entry.since = self.runs
        entry.requested = True
        self.entries[key] = entry
        if len(self.entries) > REMEMBERED:
            del self.entries[next(iter(self.entries))]

    def remove(self, kind: BreakpointKind, gva: int, length: int) -> None:
        """Note that a request was removed."""
        if entry := self.entries.get((kind, gva, length)):
            entry.requested, entry.until = False, self.runs

    def armed(self, entry: Entry) -> bool:
        """Return True if it was requested when the guest was resumed last."""
        return entry.since < self.runs and (entry.requested or entry.until == self.runs)

    def hit(self, stopped: Stopped, pc: int) -> None:
        """Count the hit of which a client is told by the stop *stopped*, at *pc*."""
        kind = _KINDS[stopped.stop]
        if kind in (BreakpointKind.SOFTWARE, BreakpointKind.HARDWARE):
            found = self.entries.get((kind, pc, 4))
        else:
            found = next((e for e in self.entries.values() if _watches(e, kind, stopped.gva)), None)
        if found:
            found.hits += 1


def _watches(entry: Entry, kind: BreakpointKind, gva: int) -> bool:
    return entry.kind is kind and entry.gva <= gva < entry.gva + entry.length
