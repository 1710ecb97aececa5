"""Thread-safe wake-up of the event loop when the target has stopped or has output.

It does not ask the target itself.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress


class StopNotifier:
    """Notifier: several notifications in a row make one call, or end one ``wait``.

    ``wait`` is for a stop that comes at once, as a step's does. It is faster than a call through
    the loop, which costs a byte to a pipe, a wait for files, and a byte from the pipe.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, stopped: Callable[[], None]) -> None:
        """Have *stopped* called on the thread of *loop*."""
        self._loop = loop
        self._stopped = stopped
        self._lock = threading.Lock()
        self._due = False
        self._awaited = False
        self._notified = threading.Lock()  # released to end a ``wait``
        self._notified.acquire()

    def notify(self) -> None:
        """Notify the event loop's thread; callable from any thread."""
        with self._lock:
            if self._due:
                return
            self._due = True
            if self._awaited:
                self._notified.release()
                return
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._call)

    def close(self) -> None:
        """Call nothing any more, also where a call is due."""
        self._stopped = lambda: None

    def _call(self) -> None:
        self._due = False  # first: a stop from here on needs another call
        self._stopped()

    def wait(self, seconds: float) -> bool:
        """Wait on the loop's thread; return True if notified, in place of the call."""
        with self._lock:
            if self._due:
                return False  # the call comes at the loop's next turn
            self._awaited = True
        self._notified.acquire(timeout=seconds)
        with self._lock:
            self._awaited = False
            if not self._due:
                return False
            self._due = False
            if not self._notified.locked():  # notified when the time was up
                self._notified.acquire()
        return True
