"""Slices of long work: a function that gives way to the event loop again and again, from anywhere.

It is called on a thread of its own, which runs only while the event loop's thread waits for it. So
it may use all that the loop's thread may, and needs no lock.
"""

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Final, Generic, TypeVar

from gdbstub.errors import MachineError, NotFound

Result = TypeVar("Result")

#: Length of a slice, in seconds; the step that is under way then is finished.
SLICE_SECONDS: Final = 0.01
#: Steps that the work of one command or packet may take: reads of guest memory, mostly, of a page
#: each. Twice as many as a list of 65,536 processes needs.
MOST_STEPS: Final = 1 << 20


class TooMuchWork(NotFound):
    """A guest's data that would take more work than any guest needs: they are damaged."""


class _Cancelled(BaseException):
    """End of a thread whose work is not wanted any more."""


class _Budget:
    """Steps that are left to the work of a thread."""

    why = "which no kernel's own tables need: they are damaged"

    def __init__(self, steps: int, piece: int = 0) -> None:
        self._steps = self._left = steps
        #: Steps that a piece of a search takes.
        self.piece: Final = piece

    def spend(self, steps: int) -> None:
        """Take *steps* from what is left; give way if it is time.

        Raises:
            TooMuchWork: nothing is left.
        """
        self._left -= steps
        if self._left < 0:
            raise TooMuchWork(
                f"not finished: more than {self._steps} reads of the guest's memory, {self.why}"
            )
        self.give_way()

    def give_way(self) -> None:
        """Let the event loop have its turn, if the slice is over."""


class _Bounded(_Budget):
    """Steps of work for which the event loop or a vCPU waits."""

    why = "the most while a client or a vCPU waits"


class _ThreadLocal(threading.local):
    budget: _Budget | None = None


_local: Final = _ThreadLocal()


def spend(steps: int = 1) -> None:
    """Spend *steps* of what the caller's work may take; give way if the slice is over.

    With 0 it only gives way.

    Outside of ``in_slices`` and ``bounded`` it does nothing.

    Raises:
        TooMuchWork: the work has taken too many.
    """
    if (budget := _local.budget) is not None:
        budget.spend(steps)


def spend_piece() -> None:
    """Spend what the next piece of RAM, a MiB, costs a search; give way if the slice is over.

    In slices that is nothing, since RAM may be large.

    Raises:
        TooMuchWork: the work has taken too many.
    """
    if (budget := _local.budget) is not None:
        budget.spend(budget.piece)


def is_limited() -> bool:
    """Return True if the caller's work gives way to the event loop, or is bounded already."""
    return _local.budget is not None


@contextmanager
def bounded(steps: int, piece: int = 0) -> Iterator[None]:
    """Bound the work inside to so many steps, without slices; ``in_slices`` bounds its own.

    With *piece*, each piece of a search takes so many.
    """
    if _local.budget is not None:
        yield
        return
    _local.budget = _Bounded(steps, piece)
    try:
        yield
    finally:
        _local.budget = None


class _Sliced(_Budget, Generic[Result]):
    """Work on a thread that runs only within ``run_slice``."""

    def __init__(self, function: Callable[[], Result], steps: int) -> None:
        super().__init__(steps)
        self.done = self.cancelled = False
        self.result: list[Result] = []
        self.error: BaseException | None = None
        self._function = function
        self._end = 0.0
        # Each is released to let the work's thread go on, or the thread that waits for it.
        self._work_turn, self._caller_turn = threading.Lock(), threading.Lock()
        self._work_turn.acquire()
        self._caller_turn.acquire()
        self._is_works_turn = False
        self._thread = threading.Thread(target=self._run, name="gdbstub-slices", daemon=True)

    def run_slice(self) -> None:
        """Let the thread run for a slice, or to its end."""
        if not self._is_works_turn:  # else an exception, as of a signal, has ended the wait for it
            self._is_works_turn = True
            if self._thread.ident is not None:
                self._work_turn.release()
            else:
                try:
                    self._thread.start()
                except RuntimeError as error:
                    self._is_works_turn = False
                    raise MachineError(f"no thread for long work: {error}") from None
        self._caller_turn.acquire()
        self._is_works_turn = False

    def end(self) -> None:
        """End the thread; what it was doing is cancelled."""
        self.cancelled = True
        if self._thread.ident is None:
            return
        while not self.done:
            self.run_slice()
        self._thread.join()

    def give_way(self) -> None:
        """Hand the turn over, if the slice is over; come back with the next one."""
        if perf_counter() < self._end:
            return
        self._caller_turn.release()
        self._work_turn.acquire()
        self._begin()

    def _begin(self) -> None:
        if self.cancelled:
            raise _Cancelled
        self._end = perf_counter() + SLICE_SECONDS

    def _run(self) -> None:
        _local.budget = self
        try:
            self._begin()
            self.result.append(self._function())
        except _Cancelled:
            pass
        except BaseException as error:
            self.error = error
        self.done = True
        self._caller_turn.release()


def in_slices(
    function: Callable[[], Result], steps: int | None = None
) -> Generator[None, None, Result]:
    """Call *function*, a slice for each ``next``; it is cancelled when the generator is closed.

    It may take so many *steps*, or ``MOST_STEPS``. It returns what the function returns.

    Raises:
        Exception: the function's own.
    """
    work = _Sliced(function, MOST_STEPS if steps is None else steps)
    try:
        work.run_slice()
        while not work.done:
            yield
            work.run_slice()
    finally:
        work.end()
    if work.error is not None:
        raise work.error
    return work.result[0]
