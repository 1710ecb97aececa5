"""Log of the program on standard error, which no guest and no client can fill.

What is logged is said where it happens.
"""

import io
import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TextIO

from gdbstub.errors import printable
from gdbstub.streams import PatientWriter

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
#: Longest wait for the reader of standard error at the program's end, in seconds.
_FINISH_SECONDS: Final = 2.0


class Messages(io.TextIOWrapper):
    """Standard error, whose reader may be gone or not read, or its disk full.

    Messages are lost then, and nobody waits: a guest runs on without them.
    """

    def __init__(self, stream: TextIO) -> None:
        """Write to the file of *stream*, line by line."""
        self._stream = stream  # closed when nobody refers to it
        self._writer = _Lossy(stream.fileno(), _missing, "<stderr>")
        super().__init__(self._writer, "utf-8", "backslashreplace", line_buffering=True)

    def finish(self) -> None:
        """Give a slow reader a while for what it has not taken."""
        self.flush()
        self._writer.finish(_FINISH_SECONDS)


class _Lossy(PatientWriter):
    """Writer that ignores errors."""

    def write(self, data: "Buffer", /) -> int:
        with suppress(OSError):
            return super().write(data)
        return memoryview(data).nbytes


def _missing(lines: int) -> str:
    return f"gdbstub: {lines} lines are missing here: nobody read standard error\n"


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
        message = record.getMessage() if record.msg == "%s" else str(record.msg)
        now, key = self._clock(), message[:_LONGEST]
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
