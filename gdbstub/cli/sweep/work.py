"""Work on a sweep in this process: ``gdbstub sweep start``, ``bisect`` and ``resume``."""

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from gdbstub.errors import InputError, StubError, SweepError, printable
from gdbstub.streams import note
from gdbstub.sweep import bisection, junit, summary
from gdbstub.sweep.engines import LOCAL, Engine, open_engine
from gdbstub.sweep.outcome import FAILURES, Status
from gdbstub.sweep.plan import SweepPlan, SweepRun
from gdbstub.sweep.progress import Lines, ProgressTable, progress
from gdbstub.sweep.scheduler import Scheduler, exit_status, remove_unnamed
from gdbstub.sweep.store import Store

#: Exit status of a sweep whose runs could not be executed.
CANNOT: Final = 2
#: Groups of failures that are named at the end.
_GROUPS: Final = 5


def start(
    directory: Path, plan: SweepPlan, runs: Iterable[SweepRun], *, on: str, jobs: int | None
) -> int:
    """Make a sweep or a bisection in *directory* and execute it; return the exit status."""
    if shutil.which("setpriv") is None:
        raise InputError("gdbstub sweep needs setpriv: install the package util-linux")
    try:
        directory.mkdir(parents=True)
        made = True
    except FileExistsError:
        if not directory.is_dir():
            raise InputError(f"--out {directory}: expected a directory, or none yet") from None
        made = False
    except OSError as error:
        raise InputError(f"--out {directory}: {error.strerror}") from None
    try:
        engine = _engine(on, jobs, directory)
    except BaseException:
        if made:
            directory.rmdir()
        raise
    with contextlib.closing(engine), Store.create(directory, plan, runs) as store:
        return _work(store, engine)


def resume(directory: Path, *, on: str, jobs: int | None, limit: int | None) -> int:
    """Go on with what is in *directory*, with another *limit* if one is given.

    Return the exit status.
    """
    with (
        Store.open(directory.absolute()) as store,
        contextlib.closing(_engine(on, jobs, store.directory)) as engine,
    ):
        if limit is not None:
            if not store.plan.images:
                raise InputError(f"--limit {limit} is for a bisection; a sweep's runs are planned")
            store.replan(store.plan._replace(limit=limit))
        remove_unnamed(store)
        return _work(store, engine)


def _engine(on: str, jobs: int | None, directory: Path) -> Engine:
    if on != LOCAL and jobs is not None:
        raise InputError(f"--jobs {jobs} is for --on {LOCAL}: {on} has as many as its workers")
    return open_engine(on, jobs or len(os.sched_getaffinity(0)), directory)


def _work(store: Store, engine: Engine) -> int:
    note(f"results in {store.directory}")
    if remark := engine.remark():
        note(remark)
    counts = {**store.counts(), Status.ERROR: 0}  # these are executed again
    try:
        with progress(counts, store.total()) as shown:
            scheduler = Scheduler(store, engine, shown)
            status = (
                _bisect(store, scheduler, engine, shown)
                if store.plan.images
                else _sweep(store, scheduler)
            )
    except SweepError as error:
        why = printable(str(error))
        note(f"{why}; when that is mended, gdbstub sweep resume {store.directory} goes on")
        status = CANNOT
    except InputError:  # the results cannot be read
        raise
    except StubError as error:
        note(printable(str(error)))
        status = CANNOT
    except BaseException:
        note(f"gdbstub sweep resume {store.directory} goes on")
        raise
    if not store.unfinished():
        remove_unnamed(store)  # of attempts at runs that were executed again
    for group in summary.groups(store.rows())[:_GROUPS]:
        first = group.rows[0]
        files = f", {first.outcome.files}" if first.outcome and first.outcome.files else ""
        signature = printable(group.signature)
        note(f"{len(group.rows)} × {signature}: first in run {first.run.number}{files}")
    try:
        junit.write(store.directory / junit.FILE, store.directory.name, store.rows())
    except OSError as error:
        raise SweepError(f"{store.directory / junit.FILE}: {error.strerror}") from None
    return status


def _sweep(store: Store, scheduler: Scheduler) -> int:
    found = store.plan.until_failure and any(store.counts()[status] for status in FAILURES)
    for _ in scheduler.run([] if found else store.unfinished()):
        pass
    return exit_status(store.counts(), store.total())


def _bisect(
    store: Store, scheduler: Scheduler, engine: Engine, shown: Lines | ProgressTable
) -> int:
    found = bisection.bisect(store, scheduler, engine.width(), shown.grow)
    print(printable(f"first bad: {found.image}"))
    note(f"{found.before} is good; probability {found.probability:.4f}, {found.runs} runs")
    return 0
