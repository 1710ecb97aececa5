"""Long work in slices: turns, results, errors, bounds, and its end before it is done."""

import threading
from collections.abc import Iterator

import pytest

from gdbstub import slices
from gdbstub.errors import MachineError, NotFound
from gdbstub.slices import TooMuchWork, bounded, in_slices, spend


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A slice is over at each step, and no thread is left."""
    monkeypatch.setattr(slices, "SLICE_SECONDS", 0)
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.mark.usefixtures("short")
def test_each_step_gives_way_and_the_result_comes() -> None:
    seen = []

    def work() -> str:
        for number in range(3):
            seen.append(number)
            spend()
        return "done"

    generator = in_slices(work)
    for number in range(1, 4):
        next(generator)
        assert len(seen) == number, "it ran while it had no turn"
    with pytest.raises(StopIteration) as end:
        next(generator)
    assert end.value.value == "done"


@pytest.mark.usefixtures("short")
def test_an_error_is_the_caller_s() -> None:
    def work() -> None:
        spend()
        raise NotFound("nothing there")

    generator = in_slices(work)
    next(generator)
    with pytest.raises(NotFound, match="nothing there"):
        next(generator)


@pytest.mark.usefixtures("short")
def test_work_that_is_not_wanted_ends_with_what_it_must_undo() -> None:
    undone = []

    def work() -> None:
        try:
            while True:
                spend(0)
        finally:
            undone.append(True)

    generator = in_slices(work)
    next(generator)
    generator.close()
    assert undone == [True]
    in_slices(work).close()  # it has not begun


@pytest.mark.usefixtures("short")
def test_work_without_an_end_is_bounded() -> None:
    def work() -> None:
        while True:
            spend(2)

    with pytest.raises(TooMuchWork, match="more than 10 reads"):
        for _ in in_slices(work, 10):
            pass
    with bounded(3), pytest.raises(TooMuchWork, match="more than 3 reads"):
        work()


@pytest.mark.usefixtures("short")
def test_a_wait_that_was_interrupted_loses_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(slices._Sliced[int]):
        first = True

        def run_slice(self) -> None:
            super().run_slice()
            if self.first:
                self.first = False
                raise KeyboardInterrupt

    monkeypatch.setattr(slices, "_Sliced", Interrupted)

    def work() -> int:
        spend()
        return 1

    with pytest.raises(KeyboardInterrupt):
        next(in_slices(work))


def test_elsewhere_a_step_is_nothing() -> None:
    spend(slices.MOST_STEPS + 1)


def test_no_thread_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(MachineError, match=r"^no thread for long work: can't start new thread$"):
        next(in_slices(lambda: None))
