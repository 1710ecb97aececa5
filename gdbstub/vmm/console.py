"""The outside end of the guest's serial line: a file or the terminal.

It interprets nothing; bytes go through as they are.
"""

import contextlib
import logging
import os
import queue
import select
import signal
import sys
import termios
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Final

from gdbstub.vmm.files import open_written

_log = logging.getLogger("gdbstub.console")

#: The most writes that wait for a reader that does not read; a guest may print for ever.
BACKLOG: Final = 1 << 20


#: Seconds that output waits for more of it: a UART gives one character at a time, and a write
#: of each, through the lab's ssh above all, would slow the guest a hundredfold.
_BATCH: Final = 0.01


class ConsoleOutput:
    """Writer of the guest's output, on a thread of its own: a slow reader stops no vCPU."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        # An event in it is set when all before it is written; None is the end.
        self._queue: queue.SimpleQueue[bytes | threading.Event | None] = queue.SimpleQueue()
        self._complained = False
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="console", daemon=True)
        self._thread.start()

    def write(self, data: bytes) -> None:
        """Queue *data*; never blocks, and drops what a stuck reader left no room for."""
        if self._queue.qsize() < BACKLOG:
            self._queue.put(data)
        elif not self._complained:
            self._complained = True
            _log.warning("nobody reads the console: output is dropped")

    def _work(self) -> None:
        ended = False
        while not ended:
            parts = [self._queue.get()]
            if isinstance(parts[0], bytes):
                time.sleep(_BATCH)
            with contextlib.suppress(queue.Empty):
                while parts[-1] is not None:
                    parts.append(self._queue.get_nowait())
            ended = parts[-1] is None
            data = b"".join(part for part in parts if isinstance(part, bytes))
            try:
                while data:
                    data = data[self._write(data) :]
            except OSError as error:
                _log.warning("the console is gone: %s", error.strerror)
                ended = True
            for part in parts:
                if isinstance(part, threading.Event):
                    part.set()
        self._ended = True  # first: who queues an event from here on looks at this
        with contextlib.suppress(queue.Empty):
            while True:
                if isinstance(part := self._queue.get_nowait(), threading.Event):
                    part.set()

    def _write(self, data: bytes) -> int:
        """Write some of *data*; another program may have set O_NONBLOCK for all that write here."""
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            select.select([], [self._fd], [])
            return 0

    def flush(self, seconds: float = 2.0) -> None:
        """Wait until all is written; give up on a reader that takes longer than *seconds*."""
        written = threading.Event()
        self._queue.put(written)
        if not self._ended:
            written.wait(seconds)

    def close(self, seconds: float = 2.0) -> None:
        """Write all queued output; give up on a reader that takes longer than *seconds*."""
        self._queue.put(None)
        self._thread.join(seconds)


def open_output(where: str) -> int:
    """Open the file of ``--console``; ``-`` is standard output. The caller closes it.

    Raises:
        InputError: the file cannot be written.
    """
    if where == "-":
        return os.dup(sys.stdout.fileno())
    return open_written(where, "--console")


def is_keyboard(fd: int) -> bool:
    """Return True if *fd* is a terminal and this job is in its foreground.

    A job in the background would be stopped by a read.
    """
    if not os.isatty(fd):
        return False
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:  # no terminal of this session's, so nobody stops us
        return True


@contextlib.contextmanager
def keys_at_once(fd: int) -> Iterator[None]:
    """Switch a terminal to single keys without echo; Ctrl-C still interrupts.

    SIGCONT does it again: the shell had the terminal while this job was stopped.
    """
    if not is_keyboard(fd):
        yield
        return
    before = termios.tcgetattr(fd)
    raw = termios.tcgetattr(fd)
    raw[3] &= ~(termios.ICANON | termios.ECHO)
    raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0

    def again(_signum: int, _frame: FrameType | None) -> None:
        if is_keyboard(fd):
            with contextlib.suppress(termios.error):
                termios.tcsetattr(fd, termios.TCSANOW, raw)

    handler = signal.getsignal(signal.SIGCONT)
    try:  # already here: Ctrl-C may come while the call is under way
        termios.tcsetattr(fd, termios.TCSADRAIN, raw)
        signal.signal(signal.SIGCONT, again)
        yield
    finally:
        signal.signal(signal.SIGCONT, handler)
        if is_keyboard(fd):  # else a shell has taken it back, or it is gone
            with contextlib.suppress(termios.error):
                termios.tcsetattr(fd, termios.TCSADRAIN, before)


def read_keys(fd: int) -> bytes | None:
    """Read typed bytes; empty at the end of input, None while there are none."""
    try:
        return os.read(fd, 4096)
    except BlockingIOError:
        return None
    except OSError:
        return b""
