"""Deferral of the signals that end the program, for code that must not be interrupted.

A handler that raises does so between any two instructions of Python. Inside ``subprocess`` or
``asyncio`` that leaves a process behind, or an event loop half closed; inside ``threading`` or
``concurrent.futures`` a lock taken, for which another thread then waits.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

Result = TypeVar("Result")

#: Ctrl-C, ``kill``, and the end of the terminal.
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DeferredSignals:
    """Signals that arrived while their handlers were deferred (``deferred_signals``)."""

    def __init__(self) -> None:
        #: The arguments for each deferred handler, in the order of arrival.
        self.arrived: list[tuple[int, FrameType | None]] = []
        #: Called in the main thread after each arrival.
        self.on_arrival: Callable[[], None] | None = None
        #: True once the block has handled the signals itself: it is ending the program.
        self.handled = False

    def note(self, signum: int, frame: FrameType | None) -> None:
        """Record a signal; this is the handler while handlers are deferred."""
        self.arrived.append((signum, frame))
        if self.on_arrival:
            self.on_arrival()


@contextmanager
def deferred_signals() -> Iterator[DeferredSignals]:
    """Defer the handlers of ``STOP_SIGNALS`` until the block is left.

    If the block has set ``handled``, no handler is called, and the signals are ignored from then
    on: a second Ctrl-C does not disturb the end of the program.
    """
    deferred = DeferredSignals()
    handlers = {}
    if threading.current_thread() is threading.main_thread():  # handlers run in no other thread
        handlers = {each: signal.getsignal(each) for each in STOP_SIGNALS}
    callables = {each: handler for each, handler in handlers.items() if callable(handler)}
    for each in callables:
        signal.signal(each, deferred.note)
    try:
        yield deferred
    finally:
        for each, handler in callables.items():
            if signal.getsignal(each) == deferred.note:
                signal.signal(each, signal.SIG_IGN if deferred.handled else handler)
        if not deferred.handled:
            for signum, frame in deferred.arrived:
                callables[signal.Signals(signum)](signum, frame)


def result_of(future: "Future[Result]") -> Result:
    """Wait for *future*, which another thread works on; return its result, or raise its error.

    A handler of a signal may raise meanwhile.
    """
    from queue import SimpleQueue  # not at the top: a stub in the lab has no use for it

    done = SimpleQueue[None]()  # no lock of Python's
    with deferred_signals():
        future.add_done_callback(lambda _: done.put(None))
    done.get()
    return future.result()
