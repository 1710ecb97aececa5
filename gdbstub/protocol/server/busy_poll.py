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
#: Number of reads in a row before the event loop has its turn.
TIMES: Final = 64


class BusyPoll:
    """Reader and writer of a socket that an event loop uses, too; the loop waits meanwhile."""

    def __init__(self, file: int, transport: asyncio.WriteTransport) -> None:
        """Use the descriptor *file*, which does not block and which is that of *transport*."""
        self._file = file
        self._transport = transport
        self._poll = select.poll()
        self._poll.register(file, select.POLLIN)

    def next(self) -> bytes:
        """Return bytes that arrive soon, or none. At the end, which the loop sees, none.

        None are read while the loop has bytes to send: the client does not read.
        """
        if self._transport.get_write_buffer_size() or not self._poll.poll(_SOON):
            return b""
        try:
            return os.read(self._file, _BYTES)
        except OSError:
            return b""

    def sent(self, data: bytes) -> bool:
        """Send *data* whole, or hand the rest to the loop; return False if nothing was sent."""
        if self._transport.get_write_buffer_size():
            return False
        try:
            done = os.write(self._file, data)
        except OSError:  # which the loop meets, too, and knows what to do about
            return False
        if done < len(data):
            self._transport.write(data[done:])
        return True
