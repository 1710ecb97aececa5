"""Tracer: the one thread of this process that traces, and the calls that others have it make.

ptrace takes requests for a thread from the thread alone that has seized it.
"""

import contextlib
import logging
import os
import queue
import signal
import threading
from collections.abc import Callable
from time import monotonic
from typing import Final, Generic, TypeVar

from gdbstub.errors import MachineError
from gdbstub.foreign import ptrace
from gdbstub.kvm import abi

_log = logging.getLogger("gdbstub.foreign")

Result = TypeVar("Result")

#: Interrupts the tracer's wait; SIGUSR1 is that of our own vCPUs.
_WAKE: Final = signal.SIGUSR2
#: The pause before a wake is repeated, that may have come just before the wait, in seconds.
_REPEAT: Final = 0.001
#: The longest such pause: a call that waits for stops itself is woken so often, in seconds.
_LONGEST: Final = 0.1
#: Priority of the tracer, where this user may raise it.
_NICE: Final = -15
#: The longest wait for a call while nothing runs, in seconds. Then stops, and signals for what has
#: stopped, are looked for.
_IDLE: Final = 0.25
#: The most stops that are taken in a row before the one who asked looks at the time.
_MOST: Final = 100
_ENDED: Final = "the VMM is not traced any more"


class _Call(Generic[Result]):
    """A call that the thread is to make for another, which waits; a tenth of a Future's cost."""

    def __init__(self, function: Callable[[], Result]) -> None:
        self._function = function
        self._result: tuple[Result] | None = None
        self._error: BaseException | None = None
        self._made = threading.Lock()  # released once it is made
        self._made.acquire()

    def make(self) -> None:
        try:
            self._result = (self._function(),)
        except BaseException as error:
            self._error = error
        self._made.release()

    def wait(self, seconds: float) -> bool:
        """Wait until it is made; False if that takes longer than *seconds*."""
        return self._made.acquire(timeout=seconds)

    def result(self) -> Result:
        """Return the result, once it is made, or raise what it raised."""
        if self._result is None:
            assert self._error is not None
            raise self._error
        return self._result[0]


class Tracer:
    """A thread with a loop: it waits for stops of traced threads, and makes calls meanwhile."""

    def __init__(
        self, stopped: Callable[[int, int], None], anything_runs: Callable[[], bool]
    ) -> None:
        """*stopped* is called with each stop: a thread id and a status of waitpid.

        *anything_runs* returns True while a stop is worth to be waited for; others may come, too.
        """
        abi.take_signal(_WAKE)
        signal.siginterrupt(_WAKE, True)
        self.stopped = stopped
        self.anything_runs = anything_runs
        #: Called now and then while nothing runs.
        self.idle: Callable[[], None] = lambda: None
        #: Called if something runs by ``anything_runs``, and the kernel knows no thread of ours.
        self.lost: Callable[[], None] = lambda: None
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        # Released for a call while nothing is waited for. ``SimpleQueue.get`` would not do: if a
        # signal interrupts it as its time ends, it waits for ever.
        self._added = threading.Lock()
        self._added.acquire()
        self._waiting = False
        self._pause = _REPEAT  # between two looks for stops while nothing is waited for
        self._closing = False
        self._thread = threading.Thread(target=self._life, name="tracer", daemon=True)
        self._thread.start()

    @property
    def is_current(self) -> bool:
        """True on the tracer's own thread."""
        return threading.get_ident() == self._thread.ident

    def call(self, function: Callable[[], Result]) -> Result:
        """Call *function* on the tracer's thread; return its result, or raise what it raised.

        Raises:
            MachineError: the thread has ended.
        """
        if self.is_current:
            return function()
        if not self._thread.is_alive():
            raise MachineError(_ENDED)
        call = _Call(function)
        self._add(call.make)
        pause = _REPEAT
        self._wake()
        while not call.wait(pause):
            if not self._thread.is_alive():
                if call.wait(0):
                    break
                raise MachineError(_ENDED)
            pause = min(2 * pause, _LONGEST)
            self._wake()
        return call.result()

    def tell_of_end(self, tid: int) -> None:
        """Take the end of a thread, of which the kernel has told already, after this stop's."""
        self._add(lambda: self._take(tid, 0))

    def _add(self, call: Callable[[], None]) -> None:
        self._calls.put(call)
        with contextlib.suppress(RuntimeError):  # released already
            self._added.release()

    def _take(self, tid: int, status: int) -> None:
        with contextlib.suppress(ptrace.Gone):  # killed since: its end is a stop of its own
            self.stopped(tid, status)

    def _wake(self) -> None:
        if self._waiting and self._thread.ident is not None and self._thread.is_alive():
            signal.pthread_kill(self._thread.ident, _WAKE)

    def close(self) -> None:
        """End the thread. Idempotent."""
        if self._closing:
            return
        self.call(self._close)
        self._thread.join()

    def _close(self) -> None:
        self._closing = True

    def _life(self) -> None:
        # vCPUs that run take all the time that they get: those that wait for us would wait long.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        looked = monotonic()
        while not self._closing:
            try:
                self.pump()
                # Not in ``pump``: it is also called in the middle of a stop's handling.
                if monotonic() - looked > _IDLE and not self.anything_runs():
                    looked = monotonic()
                    self.idle()
            except Exception:  # whatever it is, those that wait for a call must get their answer
                _log.exception("a stop of a thread could not be handled")

    def take_all(self) -> None:
        """Take the stops that there are, without a wait; for the tracer's own thread."""
        for _ in range(_MOST):  # what goes on may stop again at once
            if not self.pump(block=False):
                return

    def pump(self, *, block: bool = True) -> bool:
        """Make the calls that wait, and wait for one stop; for the tracer's own thread.

        Returns True if there was a stop.
        """
        while not self._calls.empty():
            self._calls.get()()
        if self._closing:  # a thread that does not stop is let go by the end of this one
            return False
        if not self.anything_runs():
            if block and self._added.acquire(timeout=self._pause):
                return False
            block = False
        self._waiting = block
        try:
            # Whoever adds a call after this look sees that the wait is on, and wakes it.
            found = None if block and not self._calls.empty() else ptrace.wait(block=block)
        except ptrace.Gone:
            found = None
            if self.anything_runs():
                self.lost()
        finally:
            self._waiting = False
        self._pause = min(2 * self._pause, _IDLE) if found is None else _REPEAT
        if found is not None:
            self._take(*found)
        return found is not None
