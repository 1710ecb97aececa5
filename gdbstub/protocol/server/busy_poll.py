"""Busy poll: read the packet that follows a reply without a turn of the event loop.

GDB's packets come in bursts: each is sent when the reply to the one before has arrived. A turn of
the loop costs more than most packets do.
"""

import os
import select
from typing import Final

#: Time to wait for the next packet of a burst, in milliseconds.
_SOON: Final = 2
#: Number of bytes that are read at once.
_BYTES: Final = 1 << 14
#: Number of reads in a row before the event loop has its turn.
TIMES: Final = 64


class BusyPoll:
    """Reader of a socket that an event loop reads, too; the loop waits meanwhile."""

    def __init__(self, file: int) -> None:
        """Read from the descriptor *file*, which does not block."""
        self._file = file
        self._poll = select.poll()
        self._poll.register(file, select.POLLIN)

    def next(self) -> bytes:
        """Return bytes that arrive soon, or none. At the end, which the loop sees, none."""
        if not self._poll.poll(_SOON):
            return b""
        try:
            return os.read(self._file, _BYTES)
        except OSError:
            return b""
