"""Signals that end the program while the scheduler has the lock of a future."""

import os
import signal
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from gdbstub.sweep.execute import SweepTask
from gdbstub.sweep.outcome import RunOutcome
from gdbstub.sweep.plan import combinations, plan_runs
from gdbstub.sweep.scheduler import Scheduler
from gdbstub.sweep.store import Store
from tests.bounds import HANGS
from tests.sweep.conftest import Sweeps
from tests.sweep.in_process import Silent, plan


class Interrupted:
    """An engine of one run, whose future's lock is taken as Ctrl-C comes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._future = Future[RunOutcome]()
        self._acquire = self._future._condition.acquire
        self._interrupts = True

    def submit(self, _task: SweepTask) -> "Future[RunOutcome]":
        self._monkeypatch.setattr(self._future._condition, "acquire", self._and_interrupt)
        return self._future

    def _and_interrupt(self) -> bool:
        self._acquire()
        if self._interrupts:
            self._interrupts = False
            os.kill(os.getpid(), signal.SIGINT)
        return True

    @property
    def is_free(self) -> bool:
        """True if another thread can take the lock."""
        with ThreadPoolExecutor(1) as other:
            return other.submit(self._acquire, False).result(HANGS)

    def width(self) -> int:
        return 1

    def remark(self) -> str:
        return ""

    def close(self) -> None:
        pass


def test_ctrl_c_leaves_no_lock_taken_that_a_worker_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweeps, engine = Sweeps(tmp_path), Interrupted(monkeypatch)
    runs = list(plan_runs(combinations({}, {}), 1, 1))
    with Store.create(sweeps.out, plan(sweeps, "exit 0"), runs) as store:
        scheduler = Scheduler(store, engine, Silent())
        with pytest.raises(KeyboardInterrupt):
            list(scheduler.run(store.unfinished()))
    assert engine.is_free
