"""Busy poll: send a reply and read the packet that follows without a turn of the event loop.

GDB's packets come in bursts: each is sent when the reply to the one before has arrived. A turn of
the loop costs more than most packets do.
"""

import asyncio
import os
import select
from typing import Final

#: Time to wait for the next packet of a burst, in milliseconds.
_SOON: Final = 2
#: Number of bytes that are read at once.
_BYTES: Final = 1 << 14
#: Number of reads in a row before the event loop has its turn, and time in which there is another.
TIMES: Final = 64
BURST_SECONDS: Final = 0.1


class BusyPoll:
    """Reader and writer of a socket that an event loop uses, too; the loop waits meanwhile."""

    def __init__(self, file: int, transport: asyncio.WriteTransport) -> None:
        """Use the descriptor *file*, which does not block and which is that of *transport*."""
        self._file = file
        self._transport = transport
        self._queued = False  # the loop was given bytes that it may not have sent
        self._poll = select.poll()
        self._poll.register(file, select.POLLIN)

    def next(self) -> bytes:
        """Return bytes that arrive soon, or none. At the end, which the loop sees, none.

        None are read while the loop has bytes to send: the client does not read.
        """
        if (self._queued and self._is_queued()) or not self._poll.poll(_SOON):
            return b""
        try:
            return os.read(self._file, _BYTES)
        except OSError:
            return b""

    def write(self, data: bytes) -> None:
        """Send *data*; hand to the loop what the client does not take at once."""
        if not (self._queued and self._is_queued()):
            try:
                done = os.write(self._file, data)
            except OSError:  # the loop will meet it, too, and knows what to do about it
                done = 0
            if done == len(data):
                return
            data = data[done:]
        self._queued = True
        self._transport.write(data)

    def _is_queued(self) -> bool:
        """Return True if the loop still has bytes to send."""
        self._queued = bool(self._transport.get_write_buffer_size())
        return self._queued
