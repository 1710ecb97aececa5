"""Streams of logs and pipes: a write never waits for a reader, and a read is within bounds.

They know nothing of what is written. The guest's console has a thread of its own instead.
"""

import io
import os
import select
import stat
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from gdbstub.errors import printable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

#: Bytes that are kept, beyond those that a pipe takes, until somebody reads.
KEPT: Final = 1 << 20
#: Time after which a thread that waits for room looks whether the file is closed.
_LOOK_SECONDS: Final = 1.0
#: Time between two calls of what is to be called while a pipe is waited for.
_MEANWHILE_SECONDS: Final = 0.05
#: Bytes of one system call.
_PIECE: Final = 1 << 16
#: Bytes for which a pipe that poll(2) says is ready has room (PIPE_BUF, pipe(7)).
_READY: Final = 4096


def note(text: str) -> None:
    """Print one line on standard error; part of it may be a server's or another program's."""
    print(f"gdbstub: {printable(text)}", file=sys.stderr, flush=True)


class PatientWriter(io.BufferedIOBase):
    """Writer that keeps what its file has no room for, up to a bound, and never waits.

    What is beyond the bound is lost. How many lines that were is written when there is room again,
    by a thread that ends then.
    """

    def __init__(self, fd: int, lost: Callable[[int], str], name: str) -> None:
        """Write to *fd*, which the caller closes; *lost* returns the line about lost lines."""
        self._fd = fd
        self._raw = _without_waiting(fd)
        self.name = name
        self._line = lost
        self._kept = bytearray()
        self._lost = 0
        #: Reentrant: a finaliser that logs may run in the thread that has it.
        self._lock = threading.RLock()
        self._waiting = False
        self._writing = False

    def fileno(self) -> int:
        """Return the descriptor, for other programs."""
        return self._fd

    def isatty(self) -> bool:
        """Return True if the file is a terminal."""
        return os.isatty(self._fd)

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: "Buffer", /) -> int:
        """Write *data*, keep it, or lose it.

        Raises:
            OSError: the file has failed; what was kept is lost.
        """
        block = bytes(data)
        with self._lock:
            if self._lost or len(self._kept) + len(block) > KEPT:
                self._lost += max(block.count(b"\n"), 1)
            else:
                self._kept += block
            if not self._drained() and not self._waiting:
                self._waiting = True
                with suppress(RuntimeError):  # no thread can be had: the next write looks again
                    threading.Thread(target=self._wait, name="log", daemon=True).start()
        return len(block)

    def close(self) -> None:
        """Give up what is kept. Idempotent."""
        super().close()
        self._raw.close()

    def finish(self, seconds: float) -> int:
        """Write what is kept, in *seconds* at most; return the number of lines that are lost."""
        end = time.monotonic() + seconds
        with suppress(OSError):
            while not self._at_once():
                left = end - time.monotonic()
                if left <= 0 or not self._ready(left):
                    break
        return self._kept.count(b"\n") + self._lost

    def _at_once(self) -> bool:
        with self._lock:
            return self._drained()

    def _drained(self) -> bool:
        """Write what there is room for; return True if that is all. The caller has the lock.

        A finaliser that logs may be called in here: what it has is written by the call it is in.
        """
        if self._writing:
            return True
        self._writing = True
        try:
            while self._kept or self._lost:
                if not self._kept:
                    self._kept += self._line(self._lost).encode()
                    self._lost = 0
                written = self._raw.write(self._kept[:_PIECE])
                if written is None:
                    return False
                del self._kept[:written]
        except OSError:
            self._kept.clear()
            self._lost = 0
            raise
        finally:
            self._writing = False
        return True

    def _wait(self) -> None:
        """Write what is kept when there is room."""
        with suppress(OSError, ValueError):  # it fails, or is closed
            while not (self._ready(_LOOK_SECONDS) and self._is_over()):
                pass
        self._waiting = False

    def _is_over(self) -> bool:
        """Return True if all is written: a write that comes then begins another thread."""
        with self._lock:
            self._at_once()
            self._waiting = bool(self._kept or self._lost)
            return not self._waiting

    def _ready(self, seconds: float) -> bool:
        """Wait until there is room, or the reader is gone; return False after *seconds*."""
        poll = select.poll()
        poll.register(self._raw.fileno(), select.POLLOUT)
        return bool(poll.poll(seconds * 1000))


def _without_waiting(fd: int) -> io.FileIO:
    """Return a file for what *fd* is open for, of which a write returns None instead of waiting.

    O_NONBLOCK belongs to an open file, which other processes may have in common with this one.
    So a pipe and a terminal are opened anew.
    """
    mode = os.fstat(fd).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)):
        return io.FileIO(fd, "wb", closefd=False)
    try:
        return io.FileIO(f"/proc/self/fd/{fd}", "wb", opener=_open_anew)
    except OSError:  # a socket, or another user's
        return _Polled(fd, "wb", closefd=False)


def _open_anew(path: str, _flags: int) -> int:
    return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


class _Polled(io.FileIO):
    """File that is asked first whether it has room."""

    def write(self, data: "Buffer", /) -> int:
        """Write some of *data*; return None if there is no room, as every ``io.RawIOBase``."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLOUT)
        return super().write(memoryview(data)[:_READY]) if poll.poll(0) else None  # type: ignore[return-value]


def open_log(path: str) -> int:
    """Open the file *path* for a log, made or emptied; return its descriptor.

    A FIFO is not waited for: its reader may come later, and go.

    Raises:
        OSError: it cannot be written.
    """
    from gdbstub.others import open_emptied  # not for a wrong command line

    descriptor = open_emptied(path, os.O_RDWR if _is_fifo(path) else os.O_WRONLY)
    os.set_blocking(descriptor, True)
    return descriptor


def _is_fifo(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except FileNotFoundError:
        return False


def wait_readable(descriptor: int, seconds: float, meanwhile: Callable[[], None]) -> None:
    """Wait for bytes, or the end, of a pipe; *meanwhile* is called again and again, and may raise.

    Raises:
        TimeoutError: that takes longer than *seconds*.
    """
    poll, end = select.poll(), time.monotonic() + seconds
    poll.register(descriptor, select.POLLIN)
    while not poll.poll(_MEANWHILE_SECONDS * 1000):
        meanwhile()
        if time.monotonic() > end:
            raise TimeoutError(f"nothing came for {seconds:g} s")
    meanwhile()


def read_within(
    descriptor: int, most: int, seconds: float, meanwhile: Callable[[], None] = lambda: None
) -> bytes:
    """Read to the end of a pipe, or at most *most* bytes; *meanwhile* as in ``wait_readable``.

    Raises:
        TimeoutError: that takes longer than *seconds*.
    """
    end, data = time.monotonic() + seconds, bytearray()
    while len(data) < most:
        wait_readable(descriptor, max(0.0, end - time.monotonic()), meanwhile)
        if not (part := os.read(descriptor, min(most - len(data), 1 << 20))):
            break
        data += part
    return bytes(data)
