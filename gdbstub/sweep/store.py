"""The results of a sweep in a SQLite file, which others may read while it is written.

A row is a run: planned at first, then with its outcome. Each outcome is a transaction of its own.
"""

import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Self

from gdbstub.errors import InputError, SweepError
from gdbstub.sweep import junit
from gdbstub.sweep.execute import RUNS
from gdbstub.sweep.outcome import RunOutcome, Status
from gdbstub.sweep.plan import SweepPlan, SweepRun
from gdbstub.sweep.rows import COLUMNS, FIELDS, Row, decode, planned

FILE: Final = "sweep.db"
_LOCK: Final = "lock"
#: All that a store has in its directory, with what SQLite has beside its file.
FILES: Final = (FILE, f"{FILE}-wal", f"{FILE}-shm", f"{FILE}-journal", _LOCK)
_VERSION: Final = 1
#: Time that another program may keep the file locked, in seconds.
_BUSY_SECONDS: Final = 20.0

_SCHEMA: Final = f"""
create table sweep (plan text not null);
create table runs (number integer primary key, parameters text not null, seed text not null,
                   {", ".join(FIELDS)});
pragma user_version = {_VERSION};
"""


class Store:
    """The results of the sweep in one directory; use as a context manager."""

    def __init__(self, directory: Path, database: sqlite3.Connection, lock: int | None) -> None:
        """Use *database*; ``open``, ``create`` and ``read`` make one."""
        self.directory = directory
        self._database = database
        self._lock = lock

    @classmethod
    def create(cls, directory: Path, plan: SweepPlan, runs: Iterable[SweepRun]) -> Self:
        """Make the results of a new sweep in *directory*, which is made if it is absent.

        Raises:
            InputError: the directory has a sweep already, or files of somebody else's.
            SweepError: it cannot be written.
        """
        if (directory / FILE).exists():
            if not _is_empty(directory / FILE):
                raise InputError(
                    f"{directory} has a sweep already: gdbstub sweep resume {directory} goes on "
                    "with it; give another directory by --out"
                )
        else:
            for name in (RUNS, junit.FILE):
                if os.path.lexists(directory / name):
                    raise InputError(
                        f"{directory / name} is there already, and is no sweep's ({FILE} is "
                        "absent): give another directory by --out"
                    )
        with _writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
            lock = _claim(directory)
            database = _connect(f"file:{_quoted(directory / FILE)}?mode=rwc")
            database.execute("pragma journal_mode = wal")
            # After the file, which says that they are a sweep's.
            (directory / RUNS).mkdir(exist_ok=True)
            store = cls(directory, database, lock)
            with _transaction(database):
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    database.execute(statement)
                database.execute("insert into sweep values (?)", [json.dumps(plan._asdict())])
                store._insert(runs)
            return store

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Open the results of a sweep to go on with it.

        Raises:
            InputError: there are none, or another process goes on with them.
        """
        with cls.read(directory) as store, _reading(directory):
            (damage,) = store._database.execute("pragma quick_check(1)").fetchone()
            if damage != "ok":
                raise ValueError(damage.replace("\n", " "))
            for _ in store.rows():  # to refuse before a run is executed what cannot be shown
                pass
        with _writing(directory):
            (directory / RUNS).mkdir(exist_ok=True)
            lock = _claim(directory)
            return cls(directory, _connect(f"file:{_quoted(directory / FILE)}?mode=rw"), lock)

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Open the results of a sweep to be read, also while it runs.

        Raises:
            InputError: there are none.
        """
        if not (directory / FILE).is_file():
            raise InputError(f"{directory}: no sweep has its results there ({FILE} is absent)")
        with contextlib.ExitStack() as opened:
            with _reading(directory):
                database = _connect_to_read(directory / FILE)
                opened.callback(database.close)
                (version,) = database.execute("pragma user_version").fetchone()
            if not version and _is_empty(directory / FILE):
                raise InputError(
                    f"{directory}: the sweep was cut short before it began: begin it again by "
                    f"gdbstub sweep start --out {directory}"
                )
            if version != _VERSION:
                raise InputError(
                    f"{directory / FILE} has version {version} of its format; expected {_VERSION}: "
                    "use the gdbstub that wrote it"
                )
            store = cls(directory, database, None)
            _ = store.plan, next(store.rows(), None)
            opened.pop_all()
            return store

    def close(self) -> None:
        """Close the file, and let others go on with the sweep."""
        self._database.close()
        if self._lock is not None:
            os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def plan(self) -> SweepPlan:
        """Plan of the sweep."""
        with _reading(self.directory):
            found = self._database.execute("select plan from sweep").fetchall()
            try:
                ((text,),) = found
                return SweepPlan.of(json.loads(text))
            except (ValueError, TypeError, RecursionError):
                raise ValueError("it has no plan of a sweep") from None

    def replan(self, plan: SweepPlan) -> None:
        """Put *plan* in place of the one that is there.

        Raises:
            SweepError: it cannot be written.
        """
        with _writing(self.directory), _transaction(self._database):
            self._database.execute("update sweep set plan = ?", [json.dumps(plan._asdict())])

    def add(self, runs: Iterable[SweepRun]) -> None:
        """Add planned runs.

        Raises:
            SweepError: they cannot be written.
        """
        with _writing(self.directory), _transaction(self._database):
            self._insert(runs)

    def _insert(self, runs: Iterable[SweepRun]) -> None:
        self._database.executemany(
            "insert into runs (number, parameters, seed) values (?, ?, ?)", map(planned, runs)
        )

    def record(self, outcome: RunOutcome) -> None:
        """Write the outcome of a run.

        Raises:
            SweepError: it cannot be written.
        """
        columns = ", ".join(f"{name} = ?" for name in FIELDS)
        with _writing(self.directory), _transaction(self._database):
            self._database.execute(
                f"update runs set {columns} where number = ?", (*outcome[1:], outcome.number)
            )

    def rows(self, where: str = "true") -> Iterator[Row]:
        """Yield the runs for which *where*, an expression of SQL, is true, by their number.

        Raises:
            InputError: the file is damaged.
        """
        last = 0
        with _reading(self.directory):
            for columns in self._database.execute(
                f"select {', '.join(COLUMNS)} from runs where {where} order by number"
            ):
                row = decode(columns)
                if row.run.number <= last:
                    raise ValueError(f"run {row.run.number} comes after run {last}")
                last = row.run.number
                yield row

    def row(self, number: int) -> Row:
        """Return run *number*.

        Raises:
            InputError: there is none.
        """
        found = next(self.rows(f"number = {number}"), None)
        if found is None:
            total = self.total()
            which = f"its runs are 1 to {total}" if total else "none is planned yet"
            raise InputError(f"{self.directory} has no run {number}; {which}")
        return found

    def unfinished(self) -> list[SweepRun]:
        """Return the runs that have no outcome yet, or only an error."""
        return [row.run for row in self.rows(f"status is null or status = '{Status.ERROR}'")]

    def total(self) -> int:
        """Return the number of runs."""
        with _reading(self.directory):
            (number,) = self._database.execute("select count(*) from runs").fetchone()
            return int(number)

    def counts(self) -> dict[Status, int]:
        """Return how many runs have each outcome."""
        with _reading(self.directory):
            rows = dict(self._database.execute("select status, count(*) from runs group by status"))
        return {status: rows.get(status.value, 0) for status in Status}


def _is_empty(path: Path) -> bool:
    """Return True if the database at *path* has no table."""
    try:
        with contextlib.closing(_connect_to_read(path)) as database:
            (tables,) = database.execute("select count(*) from sqlite_master").fetchone()
            (version,) = database.execute("pragma user_version").fetchone()
    except sqlite3.Error:
        return False
    return not tables and not version


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _connect(address: str) -> sqlite3.Connection:
    # Transactions are begun and ended here, in ``_transaction``.
    database = sqlite3.connect(address, uri=True, isolation_level=None, timeout=_BUSY_SECONDS)
    database.text_factory = bytes.decode  # SQLite's own error would have all of the text
    return database


def _connect_to_read(path: Path) -> sqlite3.Connection:
    database = _connect(f"file:{_quoted(path)}?mode=ro")
    try:
        database.execute("pragma user_version")
    except sqlite3.OperationalError:
        # In a directory that cannot be written, SQLite has no place for what readers share. Then
        # nobody writes either; but rows that are not in the file itself would be missing.
        log = path.with_name(f"{path.name}-wal")
        if os.access(path.parent, os.W_OK) or (log.exists() and log.stat().st_size):
            raise
        database.close()
        return _connect(f"file:{_quoted(path)}?immutable=1")
    return database


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("begin immediate")
    try:
        yield
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # a full disk has undone it already
            database.execute("rollback")
        raise
    database.execute("commit")


@contextlib.contextmanager
def _reading(directory: Path) -> Iterator[None]:
    """Make a failure to read one line with the remedy."""
    try:
        yield
    except (sqlite3.Error, ValueError) as error:
        file = directory / FILE
        if _is_code(error, sqlite3.SQLITE_BUSY):
            raise InputError(
                f"{file} cannot be read: another program has locked it; end that, or wait for it"
            ) from None
        if _is_code(error, sqlite3.SQLITE_CANTOPEN):
            raise InputError(
                f"{file} cannot be read: SQLite must be able to write in {directory}, since not "
                "all rows are in the file yet; copy the directory to where that is so"
            ) from None
        why = "a text in it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error
        raise InputError(
            f"{file} cannot be read: {why}; restore it, or begin the sweep again by another --out "
            f"(the files of its runs are in {directory / RUNS})"
        ) from None


def _is_code(error: Exception, code: int) -> bool:
    return getattr(error, "sqlite_errorcode", None) == code


@contextlib.contextmanager
def _writing(directory: Path) -> Iterator[None]:
    """Make a failure to write one line with the remedy."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise SweepError(f"{directory} cannot be written: {why}") from None


def _claim(directory: Path) -> int:
    lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise InputError(
            f"{directory}: another gdbstub sweep is at work there; gdbstub sweep show shows it"
        ) from None
    return lock
