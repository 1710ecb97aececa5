"""Deferral of the signals that end the program, for code that must not be interrupted.

A handler that raises does so between any two instructions of Python. Inside ``subprocess`` or
``asyncio`` that leaves a process behind, or an event loop half closed.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

#: Ctrl-C, ``kill``, and the end of the terminal.
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Waiting:
    """Signals that arrived while their handlers were deferred."""

    def __init__(self) -> None:
        #: The arguments for each deferred handler, in the order of arrival.
        self.came: list[tuple[int, FrameType | None]] = []
        #: Called in the main thread after each arrival.
        self.told: Callable[[], None] | None = None
        #: True once the block has handled the signals itself: it is ending the program.
        self.taken = False

    def note(self, signum: int, frame: FrameType | None) -> None:
        """Record a signal; this is the handler while handlers are deferred."""
        self.came.append((signum, frame))
        if self.told:
            self.told()


@contextmanager
def signals_wait() -> Iterator[Waiting]:
    """Defer the handlers of ``STOP_SIGNALS`` until the block is left.

    If the block has set ``taken``, no handler is called, and the signals are ignored from then
    on: a second Ctrl-C does not disturb the end of the program.
    """
    waiting = Waiting()
    handlers = {}
    if threading.current_thread() is threading.main_thread():  # handlers run in no other thread
        handlers = {each: signal.getsignal(each) for each in STOP_SIGNALS}
    callables = {each: handler for each, handler in handlers.items() if callable(handler)}
    for each in callables:
        signal.signal(each, waiting.note)
    try:
        yield waiting
    finally:
        for each, handler in callables.items():
            if signal.getsignal(each) == waiting.note:
                signal.signal(each, signal.SIG_IGN if waiting.taken else handler)
        if not waiting.taken:
            for signum, frame in waiting.came:
                callables[signal.Signals(signum)](signum, frame)
