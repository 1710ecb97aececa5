"""Runs on hosts that do not see the files of the sweep: files go there and come back with Dask.

Files are known by their content, and are sent to a worker that lacks them, not with each run.
"""

import hashlib
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from gdbstub import __version__
from gdbstub.errors import StubError, one_line
from gdbstub.sweep.evidence import tail_bytes
from gdbstub.sweep.execute import KEPT, RUNS, SweepTask, execute
from gdbstub.sweep.outcome import RunOutcome, Status

#: File in the directory of a sweep by which a worker knows that it is the same directory.
TOKEN: Final = "shared"
#: File of a run that says what was too large to come back.
LEFT: Final = "not-carried.txt"
#: Bytes at the end of the console, the record and the output each that come back.
TEXT_BYTES: Final = 16 << 20
#: Bytes of all other files of a run, as core files, that come back.
OTHER_BYTES: Final = 256 << 20


class CarriedFile(NamedTuple):
    """A file that a run needs."""

    path: str
    #: Path at which the script finds it, relative to its directory; empty for a parameter.
    name: str
    #: SHA-256 of its content.
    digest: str
    mode: int


class Order(NamedTuple):
    """A run for a worker, wherever that is."""

    task: SweepTask
    #: Content of the file by which the directory of the sweep is known.
    token: str
    files: tuple[CarriedFile, ...]
    version: str = __version__


class Answer(NamedTuple):
    """Answer of a worker: an outcome, a file that it lacks, or neither when it has stored one."""

    outcome: RunOutcome | None
    #: A file that is lacking, and the worker's address.
    lacking: tuple[CarriedFile, str] | None = None
    #: Files of the run by their names; None: they are in the directory of the sweep.
    left: Mapping[str, bytes] | None = None


class Files:
    """The files that the runs of a sweep need, as they were when the first of these was sent."""

    def __init__(self) -> None:
        """Begin with none."""
        self._known: dict[tuple[str, str], CarriedFile] = {}

    def of(self, task: SweepTask) -> tuple[CarriedFile, ...]:
        """Return the files that *task* needs.

        Raises:
            StubError: a directory is among them.
            OSError: one cannot be read.
        """
        plan, values = task.plan, task.run.parameters
        paths = [values[name] for name in plan.files if os.path.isabs(values.get(name, ""))]
        found = [self._file(path, "") for path in paths]
        return (*found, *(self._file(os.path.join(plan.directory, n), n) for n in plan.carried))

    def _file(self, path: str, name: str) -> CarriedFile:
        if (path, name) not in self._known:
            mode = os.stat(path).st_mode
            digest = ""  # of a directory, which is not carried
            if not stat.S_ISDIR(mode):
                with open(path, "rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
            self._known[path, name] = CarriedFile(path, name, digest, stat.S_IMODE(mode))
        return self._known[path, name]


def content(file: CarriedFile) -> bytes:
    """Return what *file* has.

    Raises:
        StubError: that has changed.
        OSError: it cannot be read.
    """
    data = Path(file.path).read_bytes()
    if hashlib.sha256(data).hexdigest() != file.digest:
        raise StubError(f"{file.path} has changed since the sweep began")
    return data


def is_shared(directory: Path, token: str) -> bool:
    """Return True if *directory* is that of the sweep with *token*, and may be written here."""
    try:
        same = (directory / TOKEN).read_text() == token
    except (OSError, ValueError):
        return False
    return same and os.access(directory, os.W_OK)


def execute_order(order: Order) -> Answer:
    """Execute a run in a worker of Dask; whatever fails is part of the answer."""
    import distributed

    worker = distributed.get_worker()
    try:
        if order.version != __version__:
            raise StubError(f"{worker.address} has gdbstub {__version__}, not {order.version}")
        task = order.task
        if is_shared(task.directory, order.token) and all(
            os.path.exists(file.path) for file in order.files
        ):
            return Answer(execute(task))
        # Dask removes this directory after the worker, however that ended.
        place = Path(worker.local_directory)
        if lacking := _lacking(order, place):
            return Answer(None, (lacking, worker.address))
        with tempfile.TemporaryDirectory(prefix="run-", dir=place) as directory:
            return _execute_away(order, place, Path(directory))
    except (OSError, StubError) as error:
        why = one_line(error)
        outcome = RunOutcome(order.task.run.number, Status.ERROR, message=why)
        return Answer(outcome._replace(host=socket.gethostname(), attempt=order.task.attempt))


def _execute_away(order: Order, place: Path, directory: Path) -> Answer:
    task = order.task
    work = directory / "work"
    for name in (work, directory / RUNS):
        name.mkdir()
    for file in order.files:
        if file.name:
            target = work / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(_stored(file, place), target)
    here = {file.path: str(_stored(file, place)) for file in order.files if not file.name}
    parameters = {name: here.get(value, value) for name, value in task.run.parameters.items()}
    outcome = execute(
        task._replace(
            plan=task.plan._replace(directory=str(work)),
            run=task.run._replace(parameters=parameters),
            directory=directory,
        )
    )
    if outcome.status is Status.ERROR and outcome.exit_status is not None:
        why = f"{outcome.message} ({outcome.host} does not see {task.plan.directory}: name the "
        outcome = outcome._replace(message=f"{why}script's files by --carry)")
    return Answer(outcome, left=packed(directory / outcome.files) if outcome.files else {})


def _stored(file: CarriedFile, place: Path) -> Path:
    return place / "carried" / file.digest / os.path.basename(file.path)


def _lacking(order: Order, place: Path) -> CarriedFile | None:
    for file in order.files:
        if not file.digest:
            raise StubError(
                f"{socket.gethostname()} does not see {file.path}; directories are not carried: "
                "put it where all workers see it, at one path"
            )
        if not _stored(file, place).exists():
            return file
    return None


def store(file: CarriedFile, data: bytes) -> Answer:
    """Store a file in a worker of Dask."""
    import distributed

    path = _stored(file, Path(distributed.get_worker().local_directory))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as made:
        made.write(data)
    os.chmod(made.name, file.mode)
    os.replace(made.name, path)
    return Answer(None)


def packed(directory: Path) -> dict[str, bytes]:
    """Return the files of a run, within the bounds."""
    found, left, room = {}, [], OTHER_BYTES
    for path in sorted(directory.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        name, size = str(path.relative_to(directory)), path.stat().st_size
        if name in KEPT:
            found[name] = tail_bytes(path, TEXT_BYTES)
            if size > TEXT_BYTES:
                left.append(f"{name}: all but the last {TEXT_BYTES} of {size} bytes")
        elif size <= room:
            found[name] = path.read_bytes()
            room -= size
        else:
            left.append(f"{name}: {size} bytes")
    if left:
        text = "".join(f"{line}\n" for line in ["Too large to be carried here:", *left])
        found[LEFT] = text.encode(errors="replace")
    return found


def unpack(answer: Answer, directory: Path) -> RunOutcome:
    """Write the files that came with *answer* into those of the sweep; return its outcome.

    Nobody but this user may read them, as those of a run that is executed here.

    Raises:
        OSError: they cannot be written.
    """
    outcome = answer.outcome
    assert outcome is not None
    if answer.left is not None and outcome.files:
        place = directory / outcome.files
        place.mkdir(0o700)
        for name, data in answer.left.items():
            path = place / name
            path.parent.mkdir(0o700, parents=True, exist_ok=True)
            path.touch(0o600)
            path.write_bytes(data)
    return outcome
