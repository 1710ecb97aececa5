"""What a client sends right after a reply, taken without a turn of the event loop.

GDB's packets come in bursts: each is sent when the reply to the one before has come. A turn of the
loop costs more than most packets do.
"""

import os
import select
from typing import Final

#: How long the next packet of a burst is waited for, in milliseconds.
_SOON: Final = 2
#: How many bytes are taken at once.
_BYTES: Final = 1 << 14
#: How many times in a row, before the loop's other business has its turn.
TIMES: Final = 64


class BusyPoll:
    """The bytes of a socket that is read by an event loop, too; that one must wait meanwhile."""

    def __init__(self, file: int) -> None:
        """*file*: its descriptor, which does not block."""
        self._file = file
        self._poll = select.poll()
        self._poll.register(file, select.POLLIN)

    def next(self) -> bytes:
        """What comes soon; nothing also at the end, of which the loop will hear."""
        if not self._poll.poll(_SOON):
            return b""
        try:
            return os.read(self._file, _BYTES)
        except OSError:
            return b""
