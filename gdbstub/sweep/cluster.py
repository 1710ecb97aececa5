"""The engine of ``--on dask://HOST:PORT``: a cluster of Dask's distributed scheduler.

Its workers may see the files of the sweep or not; ``carry.py`` has what goes to those that do not.
"""

import asyncio
import contextlib
import logging
import secrets
import threading
from concurrent.futures import (
    CancelledError,
    Executor,
    Future,
    InvalidStateError,
    ThreadPoolExecutor,
)
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from gdbstub import __version__
from gdbstub.errors import InputError, StubError, SweepError, one_line
from gdbstub.sweep.carry import (
    TOKEN,
    Answer,
    CarriedFile,
    Files,
    Order,
    content,
    execute_order,
    is_shared,
    store,
    unpack,
)
from gdbstub.sweep.execute import SweepTask
from gdbstub.sweep.outcome import RunOutcome, Status

_CONNECT_SECONDS: Final = 5.0
#: Time for an answer of a scheduler that is at work.
_ANSWER_SECONDS: Final = 60.0
#: Time for a worker to store a file, and bytes a second in addition.
_STORE_SECONDS: Final = 60.0
_STORE_SPEED: Final = 1 << 20


class DaskEngine:
    """A cluster of Dask's distributed scheduler."""

    def __init__(self, on: str, directory: Path) -> None:
        """Connect to the scheduler that *on* names, and look at its workers.

        Raises:
            InputError: it cannot be reached, or its workers cannot be used.
            OSError: *directory*, which is the sweep's, cannot be written.
        """
        try:
            import dask
            import distributed
        except ImportError:
            raise InputError(f"--on {on} needs Dask: pip install 'kvm-gdbstub[sweep]'") from None
        # What it logs, as of a lost connection or worker, is said by us, in one line.
        for name in logging.root.manager.loggerDict:
            if name.startswith(("distributed", "tornado")):
                logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        # Dask warns of a task with 10 MB; a kernel has more.
        dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"})
        address = _address(on)
        try:
            asyncio.run(_answer(address))
            self._client = distributed.Client(
                address, timeout=_CONNECT_SECONDS, set_as_default=False
            )
        except Exception as error:  # Dask checks nothing of what another protocol's bytes mean
            # A ``TypeError`` is Dask's for a configuration of TLS that lacks a certificate.
            why = str(error) if isinstance(error, (OSError, ValueError, TypeError)) else ""
            if not why:
                late = isinstance(error, TimeoutError)
                why = f"after {_CONNECT_SECONDS:g} s" if late else "it speaks another protocol"
            raise InputError(
                f"--on {on}: no scheduler answers there ({why}); start one by dask scheduler"
            ) from None
        self._token = secrets.token_hex()
        self._known_by = directory / TOKEN
        self._files = Files()
        #: Files under way, by the addresses of workers and what is to be stored there.
        self._carried: dict[tuple[str, CarriedFile], Future[Answer]] = {}
        #: Files that were under way, in the order in which they were stored.
        self._stored: list[tuple[str, CarriedFile]] = []
        try:
            self._known_by.write_text(self._token)
            self._away = self._check(on, directory)
        except BaseException:
            self._known_by.unlink(missing_ok=True)
            self._client.close()
            raise
        self._executor: Executor = self._client.get_executor(pure=False)
        # Files are read and written apart from the thread that talks to the scheduler.
        self._deliveries = ThreadPoolExecutor(1, thread_name_prefix="delivery")

    def _check(self, on: str, directory: Path) -> list[str]:
        """Return the addresses of the workers that do not see *directory*."""
        try:
            self._client.wait_for_workers(1, _CONNECT_SECONDS)
        except TimeoutError:
            raise InputError(
                f"--on {on}: it has no workers; start some by dask worker {_address(on)} "
                "--nthreads 1"
            ) from None
        found = self._client.run(describe, directory, self._token, on_error="return")
        for worker, answer in found.items():
            if isinstance(answer, Exception):
                raise InputError(
                    f"--on {on}: worker {worker} cannot load gdbstub {__version__}: "
                    f"{type(answer).__name__}: {answer}"
                )
            if answer[0] != __version__:
                raise InputError(
                    f"--on {on}: worker {worker} has gdbstub {answer[0]}; expected {__version__}"
                )
        return [worker for worker, (_, shared) in found.items() if not shared]

    def remark(self) -> str:
        """Say that there are workers which do not see the files, and what that means."""
        if not self._away:
            return ""
        number = "1 worker does" if len(self._away) == 1 else f"{len(self._away)} workers do"
        return (
            f"{number} not see {self._known_by.parent}: guests and results are carried; a script "
            "finds those files that --carry names"
        )

    def submit(self, task: SweepTask) -> "Future[RunOutcome]":
        """Have *task* executed by a worker."""
        outcome: Future[RunOutcome] = Future()
        self._send(task, outcome)
        return outcome

    def _send(self, task: SweepTask, outcome: "Future[RunOutcome]") -> None:
        try:
            order = Order(task, self._token, self._files.of(task))
        except (OSError, StubError) as error:
            outcome.set_result(_failed(task, error))
            return
        before = len(self._stored)
        # To any worker: one that is bound to a worker waits for ever if that is lost.
        answer = self._executor.submit(execute_order, order)
        answer.add_done_callback(lambda answer: self._deliver(task, answer, outcome, before))
        # Also to hold it, since Dask forgets what nobody holds.
        outcome.add_done_callback(lambda outcome: outcome.cancelled() and answer.cancel())

    def _deliver(
        self, task: SweepTask, answer: "Future[Answer]", outcome: "Future[RunOutcome]", before: int
    ) -> None:
        with contextlib.suppress(RuntimeError):  # the cluster has been left
            self._deliveries.submit(self._take, task, answer, outcome, before)

    def _take(
        self, task: SweepTask, answer: "Future[Answer]", outcome: "Future[RunOutcome]", before: int
    ) -> None:
        """Take an *answer*; *before* so many files had been stored when it was asked for."""
        try:
            found = answer.result()
            if found.lacking and (stored := self._carry(*found.lacking, before)):
                stored.add_done_callback(
                    lambda stored: self._deliver(task, stored, outcome, before)
                )
            elif found.outcome is None:  # what it lacked is there
                self._send(task, outcome)
            else:
                outcome.set_result(unpack(found, task.directory))
        except (OSError, StubError) as error:
            outcome.set_result(_failed(task, error))
        except (Exception, CancelledError) as error:  # a worker is lost in many ways
            outcome.set_exception(error)

    def _carry(self, file: CarriedFile, worker: str, before: int) -> "Future[Answer] | None":
        """Have *worker* store *file*, once for all runs that wait for that.

        Return None if it has done so since *before* files had been stored.
        """
        key = worker, file
        if stored := self._carried.get(key):
            return stored
        if key in self._stored[before:]:
            return None
        # Another worker may take it, for the reason that runs are bound to none.
        executor = self._client.get_executor(pure=False, workers=[worker], allow_other_workers=True)
        made: Future[Answer] = executor.submit(store, file, data := content(file))
        stored = within(
            _STORE_SECONDS + len(data) / _STORE_SPEED, made, f"{worker} has not stored {file.path}"
        )

        def note(_: object) -> None:
            self._stored.append(key)
            del self._carried[key]

        self._carried[key] = stored
        stored.add_done_callback(note)
        return stored

    def width(self) -> int:
        """Return the number of the workers' threads, twice, so that none waits for its next run."""
        scheduler, threads = self._client.scheduler, dict[str, int]()
        try:
            if scheduler is not None:
                # As ``Client.nthreads``, which would wait for ever.
                threads = self._client.sync(scheduler.ncores, callback_timeout=_ANSWER_SECONDS)
        except TimeoutError:
            why = f"Dask's scheduler has not answered for {_ANSWER_SECONDS:g} s"
            raise SweepError(why) from None
        except OSError as error:
            raise SweepError(f"Dask's scheduler is gone ({type(error).__name__})") from None
        return 2 * sum(threads.values())

    def close(self) -> None:
        """Leave the cluster; its workers finish the runs that are under way."""
        self._executor.shutdown(wait=False)
        self._deliveries.shutdown(cancel_futures=True)
        self._client.close()
        with contextlib.suppress(OSError):
            self._known_by.unlink(missing_ok=True)


def within(seconds: float, answer: "Future[Answer]", late: str) -> "Future[Answer]":
    """Return a future of *answer* that fails, as *late* says, if there is none in *seconds*.

    The worker may hang, and all runs that lack the file with it. They are then executed again.
    """
    bounded: Future[Answer] = Future()

    def give_up() -> None:
        with contextlib.suppress(InvalidStateError):
            bounded.set_exception(StubError(f"{late} for {seconds:.3g} s"))
            answer.cancel()

    def take(answer: "Future[Answer]") -> None:
        timer.cancel()
        with contextlib.suppress(InvalidStateError):
            if answer.cancelled():
                bounded.set_exception(CancelledError())
            elif error := answer.exception():
                bounded.set_exception(error)
            else:
                bounded.set_result(answer.result())

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    answer.add_done_callback(take)
    return bounded


def _failed(task: SweepTask, error: Exception) -> RunOutcome:
    why = one_line(error)
    return RunOutcome(task.run.number, Status.ERROR, message=why, attempt=task.attempt)


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
        raise InputError(f"--on {on}: expected dask://HOST:PORT, as in dask://host:8786")
    import dask

    encrypted = dask.config.get("distributed.comm.require-encryption", False)
    return f"{'tls' if encrypted else 'tcp'}://{parts.netloc}"


async def _answer(address: str) -> None:
    """Wait for an answer of the scheduler at *address*.

    ``Client`` would wait for one of a server of another kind for ever.

    Raises:
        OSError: none comes in time.
    """
    import distributed

    options = distributed.Security().get_connection_args("client")  # of Dask's configuration
    async with (
        asyncio.timeout(_CONNECT_SECONDS),
        distributed.rpc(address, connection_args=options) as scheduler,
    ):
        await scheduler.identity()


def describe(directory: Path, token: str) -> tuple[str, bool]:
    """Return this worker's version of the project, and True if it sees the sweep's *directory*."""
    return __version__, is_shared(directory, token)
