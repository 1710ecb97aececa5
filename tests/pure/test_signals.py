"""A signal that would end us may come between any two instructions of Python."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from types import FrameType
from typing import NoReturn

import pytest

from gdbstub.cli.serving.serve import first, until_signal
from gdbstub.signals import STOP_SIGNALS, DeferredSignals, deferred_signals, result_of
from tests.bounds import HANGS

STATUS = 128 + signal.SIGTERM


class Ended(Exception):
    pass


@pytest.fixture(autouse=True)
def ended_by_sigterm() -> Iterator[None]:
    def end(_signum: int, _frame: FrameType | None) -> NoReturn:
        raise Ended

    before = {each: signal.getsignal(each) for each in STOP_SIGNALS}
    signal.signal(signal.SIGTERM, end)
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


async def _session(signals: DeferredSignals) -> int:
    async def work() -> int:
        for _turn_of_the_loop in range(3):
            await asyncio.sleep(0)
        return 0

    async with until_signal(signals) as stopped:
        return await first(stopped, work())


class _AtLine:
    """Sends SIGTERM when so many lines of Python have been executed."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, _frame: FrameType, event: str, _arg: object) -> "_AtLine":
        if event == "line":
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGTERM)
        return self

    def during(self, block: Callable[[], int]) -> int:
        before = sys.gettrace()
        sys.settrace(self)
        try:
            return block()
        finally:
            sys.settrace(before)


def _session_whole() -> int:
    with deferred_signals() as signals:
        return asyncio.run(_session(signals))


@pytest.mark.filterwarnings("error")
def test_no_event_loop_is_left_half_made() -> None:
    outcomes: set[object] = set()
    for number in count(1, 2):
        handler = signal.getsignal(signal.SIGTERM)
        at_line = _AtLine(number)
        try:
            outcome: object = at_line.during(_session_whole)
        except Ended:
            outcome = Ended
        if at_line.left > 0:
            break
        outcomes.add(outcome)
        ignored = handler if outcome is Ended else signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is ignored
        signal.signal(signal.SIGTERM, handler)
    # 0 where it came when the session had ended by itself a moment ago.
    assert outcomes == {STATUS, Ended, 0}
    assert number > 1000


class Lock:
    """A lock that is first taken as SIGTERM comes."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.acquire, self.release = self._lock.acquire, self._lock.release
        self._comes = True

    def __enter__(self) -> None:
        self.acquire()
        if self._comes:
            self._comes = False
            os.kill(os.getpid(), signal.SIGTERM)

    def __exit__(self, *_: object) -> None:
        self.release()


def test_a_future_that_is_waited_for_can_be_set_all_the_same() -> None:
    future, lock = Future[int](), Lock()
    future._condition = threading.Condition(lock)  # type: ignore[arg-type]
    with pytest.raises(Ended):
        result_of(future)
    with ThreadPoolExecutor(1) as other:
        assert other.submit(lock.acquire, False).result(HANGS)


def test_the_result_of_another_thread() -> None:
    with ThreadPoolExecutor(1) as other:
        assert result_of(other.submit(lambda: 42)) == 42
        with pytest.raises(ZeroDivisionError):
            result_of(other.submit(lambda: 1 // 0))
