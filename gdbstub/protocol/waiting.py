"""Queue of what a client sends before the target is at rest.

It is bounded, since a client may send without waiting for replies.
"""

from collections import deque
from typing import Final

from gdbstub import rsp

_BYTES: Final = 4 * rsp.PACKET_SIZE
_EVENTS: Final = 1024


class WaitingEvents(deque[rsp.Event]):
    """Events that wait, in the order in which they arrived."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        self._bytes = 0

    def __str__(self) -> str:
        return (
            f"{len(self)} packets with {self._bytes} bytes wait, "
            f"where at most {_EVENTS} with {_BYTES} may"
        )

    @property
    def full(self) -> bool:
        """True if more waits than a client has reason to send."""
        return self._bytes > _BYTES or len(self) > _EVENTS

    def append(self, event: rsp.Event) -> None:
        """Add *event* behind the others."""
        super().append(event)
        self._bytes += _size(event)

    def popleft(self) -> rsp.Event:
        """Remove the event that has waited longest.

        Raises:
            IndexError: no event waits.
        """
        event = super().popleft()
        self._bytes -= _size(event)
        return event

    def clear(self) -> None:
        """Remove all events."""
        super().clear()
        self._bytes = 0


def _size(event: rsp.Event) -> int:
    return len(event.data) if isinstance(event, rsp.Packet) else 0
