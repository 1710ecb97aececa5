"""The signals that would end us, put off while nothing may be interrupted.

A handler that raises does so between any two instructions of Python, and inside ``subprocess`` or
``asyncio`` that leaves a process or half an event loop behind.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

#: Ctrl-C, ``kill``, and the terminal's end.
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Waiting:
    """What came meanwhile."""

    def __init__(self) -> None:
        self.came: list[tuple[int, FrameType | None]] = []
        #: Called, in the main thread, when one more has come.
        self.told: Callable[[], None] | None = None
        #: Whether what came was acted on; whatever is left to do then is the end.
        self.taken = False

    def note(self, signum: int, frame: FrameType | None) -> None:
        """Be the handler of a signal."""
        self.came.append((signum, frame))
        if self.told:
            self.told()


@contextmanager
def signals_wait() -> Iterator[Waiting]:
    """Have the handlers of signals that would end us called when this is left, not before.

    If the block has ``taken`` them, they are called for none, and such signals are ignored from
    then on: a second Ctrl-C does not disturb the end.
    """
    waiting = Waiting()
    handlers = {}
    if threading.current_thread() is threading.main_thread():  # no other one is ever interrupted
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
