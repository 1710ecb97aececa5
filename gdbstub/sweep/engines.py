"""Engines: executors of the standard library's kind that execute runs, here or on a Dask cluster.

They choose no runs: ``scheduler`` does. One has threads, the other Dask's workers.
"""

from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from gdbstub.errors import InputError
from gdbstub.signals import deferred_signals
from gdbstub.sweep.execute import Processes, SweepTask, execute

if TYPE_CHECKING:
    from gdbstub.sweep.outcome import RunOutcome

LOCAL: Final = "local"
DASK: Final = "dask://"


class Engine(Protocol):
    """Executor of runs."""

    def submit(self, task: SweepTask) -> "Future[RunOutcome]":
        """Have *task* executed; a worker that is lost makes the future raise."""

    def width(self) -> int:
        """Return the number of runs that it executes at once; 0 without a worker."""

    def remark(self) -> str:
        """Return one line for the user about the engine; empty if there is nothing to say."""

    def close(self) -> None:
        """End the runs that are under way, as far as they are this process's."""


def open_engine(on: str, jobs: int, directory: Path) -> Engine:
    """Open the engine of ``--on``: ``local`` with *jobs* runs at once, or ``dask://HOST:PORT``.

    Raises:
        InputError: there is no such engine, or it cannot be used for the sweep in *directory*.
    """
    if on == LOCAL:
        return LocalEngine(jobs)
    if on.startswith(DASK):
        from gdbstub.sweep.cluster import DaskEngine  # of an extra

        return DaskEngine(on, directory)
    raise InputError(f"--on {on!r}: expected {LOCAL} or {DASK}HOST:PORT")


class LocalEngine:
    """Processes of this machine, each of which a thread waits for."""

    def __init__(self, jobs: int) -> None:
        """Execute *jobs* runs at once."""
        self._jobs = jobs
        self._processes = Processes()
        self._executor: Executor = ThreadPoolExecutor(jobs, thread_name_prefix="run")

    def submit(self, task: SweepTask) -> "Future[RunOutcome]":
        """Have *task* executed in a thread."""
        with deferred_signals():  # they would leave a lock of the executor's taken
            return self._executor.submit(execute, task, self._processes)

    def width(self) -> int:
        """Return the number of threads."""
        return self._jobs

    def remark(self) -> str:
        """Return no remark."""
        return ""

    def close(self) -> None:
        """End the runs that are under way by SIGTERM; wait for that."""
        self._processes.end()
        self._executor.shutdown(cancel_futures=True)
