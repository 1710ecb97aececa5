"""Engines: executors of the standard library's kind that execute runs, here or on a Dask cluster.

They schedule nothing themselves: one has threads, the other Dask's scheduler.
"""

import asyncio
import logging
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

from gdbstub import __version__
from gdbstub.errors import InputError, SweepError
from gdbstub.sweep.execute import Processes, SweepTask, execute

if TYPE_CHECKING:
    from gdbstub.sweep.outcome import RunOutcome

LOCAL: Final = "local"
DASK: Final = "dask://"
_CONNECT_SECONDS: Final = 5.0


class Engine(Protocol):
    """Executor of runs."""

    def submit(self, task: SweepTask) -> "Future[RunOutcome]":
        """Have *task* executed; a worker that is lost makes the future raise."""

    def width(self) -> int:
        """Return the number of runs that it executes at once; 0 without a worker."""

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
        return self._executor.submit(execute, task, self._processes)

    def width(self) -> int:
        """Return the number of threads."""
        return self._jobs

    def close(self) -> None:
        """End the runs that are under way by SIGTERM; wait for that."""
        self._processes.end()
        self._executor.shutdown(cancel_futures=True)


class DaskEngine:
    """A cluster of Dask's distributed scheduler, whose workers see the files of the sweep."""

    def __init__(self, on: str, directory: Path) -> None:
        """Connect to the scheduler that *on* names, and look at its workers.

        Raises:
            InputError: it cannot be reached, or its workers cannot be used.
        """
        try:
            import distributed
        except ImportError:
            raise InputError(f"--on {on} needs Dask: pip install 'kvm-gdbstub[sweep]'") from None
        # What it logs of a lost connection or worker is said by us, in one line.
        for name in logging.root.manager.loggerDict:
            if name.startswith(("distributed", "tornado")):
                logging.getLogger(name).setLevel(logging.CRITICAL)
        address = _address(on)
        try:
            asyncio.run(_answer(address))
            self._client = distributed.Client(
                address, timeout=_CONNECT_SECONDS, set_as_default=False
            )
        except (OSError, ValueError, MemoryError) as error:
            why = str(error) or f"after {_CONNECT_SECONDS:g} s"
            if isinstance(error, MemoryError):  # for what another protocol's bytes mean in Dask's
                why = "it speaks another protocol"
            raise InputError(
                f"--on {on}: no scheduler answers there ({why}); start one by dask scheduler"
            ) from None
        try:
            self._check(on, directory)
        except BaseException:
            self._client.close()
            raise
        self._executor: Executor = self._client.get_executor(pure=False)

    def _check(self, on: str, directory: Path) -> None:
        try:
            self._client.wait_for_workers(1, _CONNECT_SECONDS)
        except TimeoutError:
            raise InputError(
                f"--on {on}: it has no workers; start some by dask worker {_address(on)} "
                "--nthreads 1"
            ) from None
        found: dict[str, str] = self._client.run(usable, directory, on_error="ignore")
        for worker, answer in found.items():
            if answer != __version__:
                raise InputError(f"--on {on}: worker {worker}: {answer}")

    def submit(self, task: SweepTask) -> "Future[RunOutcome]":
        """Have *task* executed by a worker."""
        return self._executor.submit(execute, task)

    def width(self) -> int:
        """Return the number of the workers' threads, twice, so that none waits for its next run."""
        try:
            threads: dict[str, int] = self._client.nthreads()
        except (OSError, TimeoutError) as error:
            raise SweepError(f"Dask's scheduler is gone ({type(error).__name__})") from None
        return 2 * sum(threads.values())

    def close(self) -> None:
        """Leave the cluster; its workers finish the runs that are under way."""
        self._executor.shutdown(wait=False)
        self._client.close()


def _address(on: str) -> str:
    """Return the address of the scheduler at ``dask://HOST:PORT``, as Dask writes it.

    Raises:
        InputError: it has another form.
    """
    try:
        parts = urlsplit(on)
        plain = parts.hostname and parts.port and not (parts.path or parts.query or parts.username)
    except ValueError:
        plain = False
    if not plain:
        raise InputError(f"--on {on}: expected {DASK}HOST:PORT, as in {DASK}host:8786")
    return f"tcp://{parts.netloc}"


async def _answer(address: str) -> None:
    """Wait for an answer of the scheduler at *address*.

    ``Client`` would wait for one of a server of another kind for ever.

    Raises:
        OSError: none comes in time.
    """
    import distributed

    async with asyncio.timeout(_CONNECT_SECONDS), distributed.rpc(address) as scheduler:
        await scheduler.identity()


def usable(directory: Path) -> str:
    """Return this worker's version of the project, or why it cannot be used."""
    if not directory.is_dir():
        return f"it does not see {directory}; the sweep's files must be on all hosts at one path"
    return __version__
