"""The thread that traces: what its handlers raise does not end it."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from time import monotonic

import pytest

from gdbstub.errors import MachineError
from gdbstub.foreign import ptrace
from gdbstub.foreign import tracer as tracer_module
from gdbstub.foreign.tracer import Tracer, _Call
from tests.bounds import HANGS


def answer(tracer: Tracer) -> list[int]:
    """Have the tracer's thread make a call, for which nobody waits for ever."""
    said: list[int] = []
    caller = threading.Thread(target=lambda: said.append(tracer.call(lambda: 42)), daemon=True)
    caller.start()
    caller.join(HANGS)
    return said


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Exception], Tracer]]:
    """A tracer that gets one stop, whose handler raises."""
    made: list[Tracer] = []

    def start(error: Exception) -> Tracer:
        stops, handled = [(7, 0)], threading.Event()

        def wait(tid: int = -1, *, block: bool = True) -> tuple[int, int] | None:
            return stops.pop() if stops else None

        def stopped(tid: int, status: int) -> None:
            handled.set()
            raise error

        monkeypatch.setattr(ptrace, "wait", wait)
        made.append(Tracer(stopped, lambda: bool(stops)))
        assert handled.wait(HANGS)
        return made[-1]

    yield start
    for tracer in made:
        with closing(tracer):
            pass


@pytest.mark.parametrize(
    "error", [ptrace.Gone("thread 7 has ended"), MachineError("x"), KeyError()]
)
def test_a_stop_that_cannot_be_handled(
    begin: Callable[[Exception], Tracer], error: Exception
) -> None:
    """The thread may be killed between its stop and the look at it."""
    assert answer(begin(error)) == [42]


def test_a_thread_with_nothing_to_wait_for_looks_around(
    begin: Callable[[Exception], Tracer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracer_module, "_IDLE", 0.001)
    tracer, looked = begin(KeyError()), threading.Event()
    tracer.idle = looked.set
    assert looked.wait(HANGS)
    assert answer(tracer) == [42]


def test_no_call_after_the_end(begin: Callable[[Exception], Tracer]) -> None:
    tracer = begin(KeyError())
    tracer.close()
    with pytest.raises(MachineError, match=r"^the VMM is not traced any more$"):
        tracer.call(lambda: 42)


def test_a_call_that_comes_as_the_thread_ends(
    begin: Callable[[Exception], Tracer], monkeypatch: pytest.MonkeyPatch
) -> None:
    tracer = begin(KeyError())
    calls = tracer._calls

    class Late:
        empty, get = calls.empty, calls.get

        def put(self, call: Callable[[], None]) -> None:
            calls.put(tracer._close)
            tracer._thread.join()
            calls.put(call)

    monkeypatch.setattr(tracer, "_calls", Late())
    with pytest.raises(MachineError, match=r"^the VMM is not traced any more$"):
        tracer.call(lambda: 42)


def test_a_call_that_is_made_right_before_the_thread_ends_has_its_result(
    begin: Callable[[Exception], Tracer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait for it has just timed out."""
    tracer = begin(KeyError())
    calls, wait, timeouts = tracer._calls, _Call.wait, [True]

    class Last:
        empty, get = calls.empty, calls.get

        def put(self, call: Callable[[], None]) -> None:
            calls.put(call)
            calls.put(tracer._close)
            tracer._thread.join()

    def wait_in_vain_first(call: _Call[int], seconds: float) -> bool:
        return not timeouts.pop() if timeouts else wait(call, seconds)

    monkeypatch.setattr(tracer, "_calls", Last())
    monkeypatch.setattr(_Call, "wait", wait_in_vain_first)
    assert tracer.call(lambda: 42) == 42


def test_threads_that_the_kernel_knows_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a process's first thread is not told if another executes a program."""
    runs, lost = [True], threading.Event()

    def wait(tid: int = -1, *, block: bool = True) -> None:
        raise ptrace.Gone("no thread is traced")

    def end() -> None:
        runs[0] = False
        lost.set()

    monkeypatch.setattr(ptrace, "wait", wait)
    with closing(Tracer(lambda _tid, _status: None, lambda: runs[0])) as tracer:
        tracer.lost = end
        assert lost.wait(HANGS)


def test_an_end_that_a_call_has_waited_for_is_told(
    begin: Callable[[Exception], Tracer],
) -> None:
    tracer, told = begin(KeyError()), threading.Event()
    ends: list[tuple[int, int]] = []

    def stopped(tid: int, status: int) -> None:
        ends.append((tid, status))
        told.set()
        raise ptrace.Gone("thread 8 has ended")

    tracer.stopped = stopped
    tracer.call(lambda: tracer.tell_of_end(8))
    assert told.wait(HANGS)
    assert ends == [(8, 0)]


def test_the_end_while_a_thread_runs_that_does_not_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel lets go of it when the tracer's thread ends."""
    woken, again = threading.Event(), threading.Event()
    waits = [woken, again]

    def wait(tid: int = -1, *, block: bool = True) -> None:
        if block:
            waits.pop(0).wait()

    monkeypatch.setattr(ptrace, "wait", wait)
    tracer = Tracer(lambda _tid, _status: None, lambda: True)
    end = threading.Thread(target=tracer.close, daemon=True)
    end.start()
    while tracer._calls.empty() and tracer._thread.is_alive():
        pass
    woken.set()
    end.join(HANGS)
    assert not end.is_alive()
    again.set()


def test_all_stops_are_taken_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that waits for the lock of another, which has stopped too, stops a lot."""
    stops, taken = list(range(30)), list[int]()

    def wait(tid: int = -1, *, block: bool = True) -> tuple[int, int] | None:
        assert not block
        return (stops.pop(0), 0) if stops else None

    monkeypatch.setattr(ptrace, "wait", wait)
    with closing(Tracer(lambda tid, _status: taken.append(tid), lambda: False)) as tracer:
        tracer.call(tracer.take_all)
    assert taken == list(range(30))


def test_a_wake_that_comes_as_a_pause_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that is interrupted, and gets its time only after the pause, looks for stops.

    ``SimpleQueue.get`` would wait for ever: the time that is left is less than none.
    """
    pause = 0.01
    looked, interval = threading.Event(), sys.getswitchinterval()

    def wait(tid: int = -1, *, block: bool = True) -> None:
        looked.set()

    monkeypatch.setattr(ptrace, "wait", wait)
    monkeypatch.setattr(tracer_module, "_REPEAT", pause)
    monkeypatch.setattr(tracer_module, "_IDLE", pause)
    with closing(Tracer(lambda _tid, _status: None, lambda: False)) as tracer:
        for _ in range(10):
            looked.clear()
            assert looked.wait(HANGS)
            assert tracer._thread.ident is not None
            sys.setswitchinterval(HANGS)
            try:
                signal.pthread_kill(tracer._thread.ident, signal.SIGUSR2)
                until = monotonic() + 2 * pause
                while monotonic() < until:
                    pass
            finally:
                sys.setswitchinterval(interval)
