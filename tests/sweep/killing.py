"""Processes of sweeps to be killed, and a check that nothing was lost by that."""

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from gdbstub.sweep.outcome import Status
from gdbstub.sweep.store import Store
from tests.bounds import HANGS
from tests.sweep.conftest import STAND_IN, Sweeps

#: One in eleven fails, by its number.
SCRIPT: Final = "test $((GDBSTUB_RUN % 11)) != 0"


def check(sweeps: Sweeps, number: int) -> None:
    """There are *number* rows, each right, each with files of its own, and no other files."""
    with Store.read(sweeps.out) as store:
        rows = list(store.rows())
    assert [row.run.number for row in rows] == list(range(1, number + 1))
    for run, outcome in rows:
        assert outcome is not None, run.number
        wanted = Status.PASSED if run.number % 11 else Status.FAILED
        assert outcome.status is wanted, outcome
        assert outcome.console == f"run {run.number} boots\n"
    named = {row.outcome.files.removeprefix("runs/") for row in rows if row.outcome}
    assert len(named) == number
    assert named <= set(os.listdir(sweeps.out / "runs"))


def stand_ins(sweeps: Sweeps) -> Iterator[int]:
    """The processes that stand in for ``gdbstub run`` in this sweep."""
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (place / "cmdline").read_bytes().split(b"\0")
            if STAND_IN[-1].encode() in words and str(sweeps.directory).encode() in b"".join(words):
                yield int(place.name)


def wait_for_rows(sweeps: Sweeps, number: int) -> None:
    """Wait until *number* runs have an outcome."""
    deadline = time.monotonic() + HANGS
    while True:
        with contextlib.suppress(Exception), Store.read(sweeps.out) as store:
            if sum(store.counts().values()) >= number:
                return
        assert time.monotonic() < deadline
        os.sched_yield()


@contextlib.contextmanager
def killing(processes: Callable[[], Iterable[int]], seconds: float) -> Iterator[list[int]]:
    """Kill one of *processes* now and then, while the block lasts."""
    killed: list[int] = []
    over, draw = threading.Event(), random.Random(4)

    def kill() -> None:
        while not over.wait(draw.uniform(0, seconds)):
            if found := list(processes()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid := draw.choice(found), signal.SIGKILL)
                    killed.append(pid)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()
