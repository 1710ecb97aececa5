"""Breakpoints and watchpoints as one client requests them, by kind and address."""

from collections.abc import Collection
from typing import Final

from gdbstub.errors import NoSlot
from gdbstub.target import BreakpointKind

#: Number of software breakpoints that there may be: a resume places all of them in one go.
MOST: Final = 2048


def check_room(requests: Collection[int]) -> None:
    """Check that *requests* are few enough for one more.

    Raises:
        NoSlot: they are not.
    """
    if len(requests) >= MOST:
        raise NoSlot(f"there are {MOST} software breakpoints, as many as may be; delete one first")


def no_slot(slots: int) -> NoSlot:
    """Return the error of a request that takes one more comparator than all *slots*."""
    return NoSlot(f"all {slots} hardware breakpoints are in use; delete one first")


class RequestedBreakpoints:
    """A client's requests: those that stand, and those that it took back since the last resume."""

    def __init__(self) -> None:
        """Begin without requests."""
        self._standing: set[tuple[BreakpointKind, int]] = set()
        self._taken_back: set[tuple[BreakpointKind, int]] = set()

    def insert(self, kind: BreakpointKind, gva: int) -> None:
        """Note a request."""
        self._standing.add((kind, gva))

    def remove(self, kind: BreakpointKind, gva: int) -> None:
        """Note that a request was taken back."""
        if (kind, gva) in self._standing:
            self._standing.discard((kind, gva))
            if len(self._taken_back) >= MOST:  # a client that never resumes the guest
                self._taken_back.clear()
            self._taken_back.add((kind, gva))

    def stands(self, kind: BreakpointKind, gva: int) -> bool:
        """Return True if the client requests such a breakpoint now."""
        return (kind, gva) in self._standing

    def is_known(self, kind: BreakpointKind, gva: int) -> bool:
        """Return True if there is such a request, or was at this stop.

        A client that takes it back and asks again means the same one, whatever it has selected.
        """
        return self.stands(kind, gva) or (kind, gva) in self._taken_back

    def resume(self) -> None:
        """Forget which requests were taken back: the guest is resumed."""
        self._taken_back.clear()

    def clear(self) -> None:
        """Forget all requests."""
        self._standing.clear()
        self._taken_back.clear()
