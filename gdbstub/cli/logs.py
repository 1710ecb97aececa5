"""Log of the program on standard error, which no guest and no client can fill.

What is logged is said where it happens.
"""

import io
import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, Final, TextIO

from gdbstub.errors import printable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

#: Number of times that a message is logged in a period.
TIMES: Final = 10
#: Length of a period, in seconds.
PERIOD: Final = 10.0
#: Number of messages whose periods are known; then all begin anew.
_KNOWN: Final = 256
#: Length of the longest message, in characters.
_LONGEST: Final = 4096


class Messages(io.TextIOWrapper):
    """Standard error, whose reader may be gone or its disk full: messages are lost then.

    A guest runs on without them.
    """

    def __init__(self, stream: TextIO) -> None:
        """Write to the file of *stream*, line by line."""
        self._stream = stream  # closed when nobody refers to it
        raw = getattr(stream.buffer, "raw", stream.buffer)  # a buffer keeps what it cannot write
        super().__init__(_Lossy(raw), "utf-8", "backslashreplace", line_buffering=True)


class _Lossy(io.BufferedIOBase):
    """Writer to a raw file, without a buffer, that ignores errors."""

    name = "<stderr>"

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw

    def fileno(self) -> int:
        return self._raw.fileno()

    def isatty(self) -> bool:
        return self._raw.isatty()

    def writable(self) -> bool:
        return True

    def write(self, data: "Buffer", /) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        with suppress(OSError):
            while left:
                left = left[self._raw.write(left) or len(left) :]
        return size


class RateLimit(logging.Filter):
    """Filter of a handler: a message is logged a few times in a period, then counted.

    Debug messages, which a user has asked for, are not limited.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with no message; *clock* returns seconds."""
        super().__init__()
        self._clock = clock
        #: By message: the time at which its period ends, times logged, times left out.
        self._periods: dict[str, tuple[float, int, int]] = {}

    def __len__(self) -> int:
        return len(self._periods)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True if *record* is to be logged; say in it how many were left out."""
        if record.levelno < logging.INFO:
            return True
        now, key = self._clock(), str(record.msg)[:_LONGEST]
        ends, logged, left_out = self._periods.get(key, (0.0, 0, 0))
        if now >= ends:
            ends, logged, before, left_out = now + PERIOD, 0, left_out, 0
        else:
            before = 0
        if len(self._periods) >= _KNOWN and key not in self._periods:
            self._periods.clear()
        if logged >= TIMES:
            self._periods[key] = (ends, logged, left_out + 1)
            return False
        self._periods[key] = (ends, logged + 1, left_out)
        text = record.getMessage()
        if before or len(text) > _LONGEST:
            text = text[:_LONGEST]
            record.msg = f"{text} ({before} more were left out)" if before else f"{text}…"
            record.args = ()
        return True


class OneLine(logging.Formatter):
    """Formatter whose messages are of one line, and control no terminal; a traceback has more."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the message of *record*, after what stands before it."""
        return printable(super().formatMessage(record))


def set_up_logging(verbose: int) -> None:
    """Log to standard error: warnings; events too with one -v; packets and exits with two."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RateLimit())
    handler.setFormatter(OneLine("gdbstub: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("gdbstub").setLevel(level)
