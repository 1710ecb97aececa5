"""Results that are damaged, locked or of another program: each subcommand says so in one line."""

import contextlib
import os
import random
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Final, NoReturn

import pytest

from gdbstub.cli.main import call
from gdbstub.cli.sweep import work
from gdbstub.sweep import store
from gdbstub.sweep.execute import SweepTask
from gdbstub.sweep.outcome import RunOutcome, Status
from gdbstub.sweep.plan import SweepPlan, SweepRun
from gdbstub.sweep.store import Store

NUMBER: Final = 24
IMAGES: Final = tuple(f"/images/{each}" for each in range(4))
PLAN: Final = SweepPlan(
    command=("true",), script="exit 0", timeout=60, start_timeout=60, flags=(), directory="/",
    varied=("guest",), until_failure=False, seed=1, fixed={"smp": "2"}, limit=100,
)  # fmt: skip
#: Each subcommand that reads results; DIR stands for their directory.
SUBCOMMANDS: Final = (
    ("show", "DIR"),
    ("show", "DIR", "2"),
    ("report", "DIR"),
    ("export", "DIR", os.devnull),
    ("replay", "DIR", "3"),
    ("resume", "DIR"),
)


class _Instant:
    """An engine whose runs pass at once, and which executes nothing."""

    def submit(self, task: SweepTask) -> "Future[RunOutcome]":
        future: Future[RunOutcome] = Future()
        future.set_result(RunOutcome(task.run.number, Status.PASSED, exit_status=0))
        return future

    def width(self) -> int:
        return 2

    def remark(self) -> str:
        return ""

    def close(self) -> None:
        pass


class _Executed(Exception):
    pass


def _execute(*_: object) -> NoReturn:
    raise _Executed


@pytest.fixture(autouse=True)
def executes_nothing(monkeypatch: pytest.MonkeyPatch, pygal_here: None) -> None:
    """Whatever a damaged plan says, nothing of it is executed."""
    monkeypatch.setattr(work, "open_engine", lambda *_: _Instant())
    monkeypatch.setattr(os, "execvpe", _execute)
    monkeypatch.setattr(os, "chdir", lambda _path: None)


def _outcome(number: int) -> RunOutcome:
    files = f"runs/{number:06}-abcdefgh"
    text = "".join(f"[{each:9}.{number:06}] a line of a console\n" for each in range(40))
    found = RunOutcome(
        number, Status.PASSED, 0, "", "", 1.5 * number, 1.7e9 + number, "here", files, text, text
    )
    if number % 3:
        return found
    return found._replace(
        status=Status.FAILED, exit_status=1, stop_reason="watch", backtrace="panic < main"
    )


def results(directory: Path, *, bisection: bool = False) -> Path:
    """Make the results of a sweep, or of a bisection, whose last two runs have no outcome."""
    plan = PLAN._replace(images=IMAGES, confidence=0.9) if bisection else PLAN
    runs = [
        SweepRun(number, {"smp": "2", "guest": IMAGES[number % 4]}, 2**63 + number)
        for number in range(1, NUMBER + 1)
    ]
    with Store.create(directory, plan, runs) as made:
        for run in runs[:-2]:
            made.record(_outcome(run.number))
            (directory / _outcome(run.number).files).mkdir()
    return directory / store.FILE


def _overwrite(data: bytes, draw: random.Random) -> bytes:
    place, size = draw.randrange(len(data)), draw.choice((1, 2, 8, 300, 5000))
    return data[:place] + draw.randbytes(size) + data[place + size :]


def _zero(data: bytes, draw: random.Random) -> bytes:
    place, size = draw.randrange(len(data)), draw.choice((1, 8, 512, 4096))
    return data[:place] + bytes(size) + data[place + size :]


def _flip(data: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]


def _truncate(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(1, len(data))]


def _repeat(data: bytes, draw: random.Random) -> bytes:
    """A page in place of another."""
    pages = len(data) // 4096
    source, place = (4096 * draw.randrange(pages) for _ in range(2))
    return data[:place] + data[source : source + 4096] + data[place + 4096 :]


def _change_text(data: bytes, draw: random.Random) -> bytes:
    """A character in what is not structure: JSON, names and numbers."""
    places = [each for each in range(len(data)) if data[each] in b'"{}[]:,/0123456789']
    place = draw.choice(places)
    return data[:place] + bytes([draw.randrange(256)]) + data[place + 1 :]


DAMAGES: Final = (_overwrite, _zero, _flip, _truncate, _repeat, _change_text)


def _done_or_refused(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Do what a user would; it is done, or refused in one line."""
    try:
        status = call(["sweep", *words])
    except _Executed:
        capsys.readouterr()
        return
    said = capsys.readouterr().err.splitlines()
    if words[0] == "resume" and said[0].startswith("gdbstub: results in "):
        # All that it reads is read before it begins.
        assert not [line for line in said if "cannot be read" in line]
        return
    assert len(said) == (status == 2)
    assert all(line.startswith("gdbstub: ") for line in said)


@pytest.mark.parametrize("bisection", [False, True], ids=["sweep", "bisection"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_random_damage(
    damage: Callable[[bytes, random.Random], bytes],
    bisection: bool,
    long: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = results(tmp_path / "out", bisection=bisection)
    whole = file.read_bytes()
    assert len(whole) > 60_000
    for seed in range(300 if long else 6):
        for words in SUBCOMMANDS:
            file.write_bytes(damage(whole, random.Random(seed)))
            for left in ("-wal", "-shm"):
                file.with_name(file.name + left).unlink(missing_ok=True)
            try:
                _done_or_refused([str(file.parent) if w == "DIR" else w for w in words], capsys)
            except Exception as error:
                raise AssertionError(f"seed {seed}, {words[0]}") from error


def _refused(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line that a subcommand says."""
    assert call(["sweep", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    return line


def _of(directory: Path) -> list[list[str]]:
    return [[str(directory) if word == "DIR" else word for word in words] for words in SUBCOMMANDS]


def test_results_that_another_program_has_locked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_BUSY_SECONDS", 0.1)
    file = results(tmp_path / "out")
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("pragma locking_mode = exclusive")
        database.execute("update runs set host = 'there'")
        database.commit()
        for words in _of(file.parent):
            assert _refused(words, capsys) == (
                f"gdbstub: {file} cannot be read: another program has locked it; end that, or "
                "wait for it"
            )


#: Lists in lists, as many as no parser of JSON takes.
NESTED: Final = "replace(hex(zeroblob(100000)), '0', '[')"

OTHERS: Final = {
    "create table notes (text)": "no such table: sweep",
    "create table sweep (plan); create table runs (number)": "it has no plan of a sweep",
    "drop table runs": "no such table: runs",
    "alter table runs rename column host to machine": "no such column: host",
    "update sweep set plan = '[]'": "it has no plan of a sweep",
    "update sweep set plan = 7": "it has no plan of a sweep",
    "delete from sweep": "it has no plan of a sweep",
    "insert into sweep select plan from sweep": "it has no plan of a sweep",
    """update sweep set plan = replace(plan, '"timeout"', '"time"')""": "it has no plan of a sweep",
    """update sweep set plan = replace(plan, '"exit 0"', '7')""": "it has no plan of a sweep",
    """update sweep set plan = replace(plan, '["guest"]', '[7]')""": "it has no plan of a sweep",
    """update sweep set plan = replace(plan, '{"smp": "2"}', '2')""": "it has no plan of a sweep",
    f"update sweep set plan = {NESTED}": "it has no plan of a sweep",
    """update sweep set plan = replace(plan, 'exit 0', '\\u0000')""": "it has no plan of a sweep",
    """update sweep set plan = replace(plan, '"true"', '"\\ud800"')""": "it has no plan of a sweep",
    f"update runs set parameters = {NESTED} where number = 1": "run 1 has no parameters",
    **{
        f"update runs set parameters = '{{{pair}}}' where number = 1": "run 1 has no parameters"
        for pair in ('"smp": "\\u0000"', '"smp": "\\ud800"', '"\\u0000": "2"', '"\\udfff": "2"')
    },
    "update runs set parameters = '7' where number = 1": "run 1 has no parameters",
    "update runs set parameters = x'ff' where number = 1": "run 1 has no parameters",
    "update runs set parameters = '{\"smp\": 2}' where number = 1": "run 1 has no parameters",
    'update runs set parameters = \'{"guest": "x"}\' where number = 1': "run 1 has no parameters",
    "update runs set seed = -7 where number = 1": "run 1 has no seed",
    "update runs set seed = '99999999999999999999' where number = 1": "run 1 has no seed",
    "update runs set status = 'odd' where number = 1": "run 1 has the status 'odd'",
    "update runs set seconds = 'x' where number = 1": "run 1 has seconds 'x'",
    "update runs set seconds = -1.0 where number = 1": "run 1 has seconds '-1.0'",
    "update runs set seconds = 9e999 where number = 1": "run 1 has seconds 'inf'",
    "update runs set began = 1e300 where number = 1": "run 1 has began '1e+300'",
    "update runs set console = x'00ff' where number = 1": "run 1 has console \"b'\\\\x00\\\\xff'\"",
    "update runs set files = '../../etc' where number = 1": "run 1 has files '../../etc'",
    "update runs set number = -1 where number = 1": "run -1 comes after run 0",
}


@pytest.mark.parametrize("change", OTHERS)
def test_results_of_another_program(
    change: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "out"
    if change.startswith("create"):
        directory.mkdir()
        change += "; pragma user_version = 1"
    else:
        results(directory)
    file = directory / store.FILE
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.executescript(change)
    for words in _of(directory):
        assert _refused(words, capsys) == (
            f"gdbstub: {file} cannot be read: {OTHERS[change.partition('; pragma')[0]]}; restore "
            f"it, or begin the sweep again by another --out (the files of its runs are in "
            f"{directory}/runs)"
        )


def test_a_run_of_another_bisection(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = results(tmp_path / "out", bisection=True)
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("update runs set parameters = '{}' where number = 1")
        database.commit()
    assert call(["sweep", "resume", str(file.parent)]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "gdbstub: run 1 has guest=None, which is no image of the bisection"


@pytest.mark.parametrize("bisection", [False, True], ids=["sweep", "bisection"])
def test_a_run_without_the_parameter_that_is_varied(
    bisection: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = results(tmp_path / "out", bisection=bisection)
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("update runs set parameters = '{}' where number = 2")
        database.commit()
    for words in _of(file.parent):
        _done_or_refused(words, capsys)


def test_results_that_are_a_directory_or_a_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    file = tmp_path / "out" / store.FILE
    file.write_bytes(b"\x7fELF" * 9999)
    for words in _of(file.parent):
        assert " cannot be read: file is not a database; restore it" in _refused(words, capsys)
    file.unlink()
    file.mkdir()
    for words in (*_of(file.parent), *_of(file.parent / "absent")):
        line = _refused(words, capsys)
        assert line.endswith("no sweep has its results there (sweep.db is absent)")
