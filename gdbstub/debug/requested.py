"""Breakpoints and watchpoints as one client requests them, by kind and address."""

from gdbstub.target import BreakpointKind


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
        self._standing.discard((kind, gva))
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
