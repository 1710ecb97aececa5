"""Events of a client in turns: as many as may be answered before the client takes the replies.

It handles no event: ``session.py`` does.
"""

import logging
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from time import perf_counter
from typing import Final

from gdbstub import rsp
from gdbstub.protocol.packets import PacketCache

#: Number of bytes after which a turn is over, and number of replies and acknowledgements.
TURN_BYTES: Final = 2 * rsp.PACKET_SIZE
_TURN_REPLIES: Final = 256
#: Time after which no other event is handled in the turn, in seconds.
TURN_SECONDS: Final = 0.02
#: Number of bytes that are kept of a client whose packets have not been answered.
MOST_KEPT: Final = 16 * rsp.PACKET_SIZE

_log = logging.getLogger(__name__)


def keep(connection: rsp.Connection, data: bytes) -> bool:
    """Keep *data* for another turn; return False if that is more than a client needs to send."""
    connection.receive(data)
    if connection.kept <= MOST_KEPT:
        return True
    _log.warning("disconnecting the client, which sends on without waiting for replies")
    return False


class Turn:
    """A turn of the event loop, in which a bounded number of events is handled."""

    __slots__ = ("_end", "_events", "_out")

    def __init__(self, out: Sequence[bytes]) -> None:
        """Begin; *out* has what is sent."""
        self._out = out
        self._events = 0

    def over(self) -> bool:
        """Return True if the turn is over, once for each event; not for the first one.

        What the first event takes is not counted, as most turns have no other.
        """
        self._events += 1
        if self._events == 1:
            return False
        now, out = perf_counter(), self._out
        if self._events == 2:
            self._end = now + TURN_SECONDS
        return now > self._end or len(out) >= _TURN_REPLIES or sum(map(len, out)) > TURN_BYTES


def incoming(connection: rsp.Connection, data: bytes) -> tuple[Iterator[rsp.Event], bytes]:
    """Return the events that *data* completes, and *data* if it is one packet wherever it arrives.

    Events that are not taken come first from the next call, as ``rsp.Connection.receive`` says.
    """
    short = len(data) <= PacketCache.LONGEST and not connection.in_frame
    events = connection.receive(data)
    if not short:
        return _without_runs(events), b""
    first = tuple(islice(events, 2))
    alone = len(first) == 1 and not connection.in_frame
    return _without_runs(chain(first, events)), data if alone else b""


def _without_runs(events: Iterator[rsp.Event]) -> Iterator[rsp.Event]:
    """Leave one of several requests in a row for the last frame, which each would send whole."""
    before: rsp.Event | None = None
    for event in events:
        if not (event is before is rsp.ControlByte.NAK):
            yield event
        before = event
