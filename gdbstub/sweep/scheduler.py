"""Scheduler of a sweep: runs to an engine, outcomes to the store, until all have one.

A run whose worker is lost, or that ends by an error, is executed again. A signal that ends the
program raises in no call of a future: its lock would stay taken, and its worker wait for that.
"""

import contextlib
import re
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from typing import Final, Protocol

from gdbstub.errors import SweepError
from gdbstub.signals import deferred_signals
from gdbstub.sweep.engines import Engine
from gdbstub.sweep.execute import KEPT, RUN_NAME, RUNS, SweepTask
from gdbstub.sweep.outcome import FAILURES, RunOutcome, Status
from gdbstub.sweep.plan import SweepRun
from gdbstub.sweep.store import Store

#: Attempts at one run.
ATTEMPTS: Final = 5
#: Runs in a row that end by an error, after which the others would, too; and for each worker.
_ERRORS: Final = 3
_TICK_SECONDS: Final = 1.0


class SweepListener(Protocol):
    """Observer of a sweep."""

    def finished(self, run: SweepRun, outcome: RunOutcome) -> None:
        """Take note of a run's outcome."""

    def repeated(self, run: SweepRun, why: str) -> None:
        """Take note that a run is executed again."""

    def tick(self, width: int) -> None:
        """Take note that a second has passed, with *width* workers."""


class Scheduler:
    """Scheduler of one sweep: no other process gives out its runs or stores outcomes."""

    def __init__(self, store: Store, engine: Engine, listener: SweepListener) -> None:
        """Begin with the outcomes that *store* has."""
        self._store = store
        self._engine = engine
        self._listener = listener
        self._plan = store.plan
        self._seen = {
            row.outcome.signature for row in store.rows("status is not null") if row.outcome
        }
        self._errors = 0

    def run(self, runs: Iterable[SweepRun]) -> Iterator[RunOutcome]:
        """Execute *runs*, which are planned; yield each outcome when it is stored.

        None is begun after the consumer has stopped to ask for outcomes.

        Raises:
            SweepError: nothing can be stored, or no run can be executed.
        """
        waiting = iter(runs)
        pending: dict[Future[RunOutcome], SweepTask] = {}
        stop = False
        try:
            while True:
                width = max(self._engine.width(), 1)
                while not stop and len(pending) < width and (run := next(waiting, None)):
                    self._submit(pending, SweepTask(self._plan, run, self._store.directory))
                if not pending:
                    return
                with deferred_signals():
                    done, _ = wait(pending, _TICK_SECONDS, FIRST_COMPLETED)
                self._listener.tick(self._engine.width())
                for future in done:
                    task = pending.pop(future)
                    outcome = self._outcome(future, task)
                    if outcome.is_repeated and task.attempt < ATTEMPTS:
                        self._listener.repeated(task.run, outcome.message)
                        self._submit(pending, task._replace(attempt=task.attempt + 1))
                        continue
                    self._store_outcome(task.run, outcome)
                    stop |= self._plan.until_failure and outcome.status in FAILURES
                    yield outcome
                    self._check_errors(outcome, width)
        finally:
            with deferred_signals():
                for future in pending:
                    future.cancel()

    def _submit(self, pending: "dict[Future[RunOutcome], SweepTask]", task: SweepTask) -> None:
        pending[self._engine.submit(task)] = task

    def _outcome(self, future: "Future[RunOutcome]", task: SweepTask) -> RunOutcome:
        try:
            with deferred_signals():
                return future.result()
        except CancelledError:
            raise SweepError("the engine is gone") from None
        except Exception as error:  # of the engine, whose workers are lost in many ways
            why = f"its worker was lost ({type(error).__name__})"
            return RunOutcome(task.run.number, Status.ERROR, message=why, attempt=task.attempt)

    def _store_outcome(self, run: SweepRun, outcome: RunOutcome) -> None:
        """Store *outcome*; of a group that is known, keep no more than console and record."""
        self._store.record(outcome)
        if outcome.signature in self._seen or outcome.status is Status.PASSED:
            self._thin(outcome)
        self._seen.add(outcome.signature)
        self._listener.finished(run, outcome)

    def _thin(self, outcome: RunOutcome) -> None:
        if not outcome.files:
            return
        # On a network file system another host's files may not be seen yet. They stay, then.
        with contextlib.suppress(OSError):
            for path in (self._store.directory / outcome.files).iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name not in KEPT:
                    path.unlink()

    def _check_errors(self, outcome: RunOutcome, width: int) -> None:
        self._errors = self._errors + 1 if outcome.status is Status.ERROR else 0
        if self._errors >= max(_ERRORS, width):
            raise SweepError(f"the last {self._errors} runs ended by an error: {outcome.message}")


def remove_unnamed(store: Store) -> None:
    """Remove the files of runs that were cut short, which no outcome names, and nothing else."""
    named = {row.outcome.files for row in store.rows("status is not null") if row.outcome}
    for path in (store.directory / RUNS).iterdir():
        ours = re.fullmatch(RUN_NAME, path.name) and path.is_dir() and not path.is_symlink()
        if ours and f"{RUNS}/{path.name}" not in named:
            shutil.rmtree(path, ignore_errors=True)


def exit_status(counts: dict[Status, int], total: int) -> int:
    """Return the exit status for a sweep: 1 if a run failed, 2 if some could not be run, else 0."""
    if any(counts[status] for status in FAILURES):
        return 1
    return 2 if counts[Status.ERROR] or not total else 0
