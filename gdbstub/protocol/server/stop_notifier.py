"""Word from a target that it wants to be looked at, from whatever thread, to the event loop's.

It looks at nothing itself.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress


class StopNotifier:
    """Several words in a row are one look, at the loop's next turn or by whoever waits for it.

    Waiting spares a stop that comes at once, as a step's does, the way through the loop: a byte
    to a pipe, a wait for files, and a byte from it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, look: Callable[[], None]) -> None:
        """*look* is called on the thread of *loop*."""
        self._loop = loop
        self._look = look
        self._lock = threading.Lock()
        self._due = False
        self._awaited = False
        self._came = threading.Lock()  # released to whoever waits
        self._came.acquire()

    def notify(self) -> None:
        """There is something to look at; from any thread."""
        with self._lock:
            if self._due:
                return
            self._due = True
            if self._awaited:
                self._came.release()
                return
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._turn)

    def _turn(self) -> None:
        self._due = False  # first: a stop from here on is news
        self._look()

    def wait(self, seconds: float) -> bool:
        """On the loop's thread: whether word has come, or comes soon; the caller looks, then."""
        with self._lock:
            if self._due:
                return False  # the loop's next turn
            self._awaited = True
        self._came.acquire(timeout=seconds)
        with self._lock:
            self._awaited = False
            if not self._due:
                return False
            self._due = False
            if not self._came.locked():  # it came when the time was up
                self._came.acquire()
        return True
