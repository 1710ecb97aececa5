"""Sweeps of which parts are killed, or whose disk is full: no run is lost or counted twice."""

import contextlib
import os
import select
import signal
import sqlite3
import subprocess
import sys

import pytest

from gdbstub.sweep.outcome import Status
from gdbstub.sweep.store import Store
from tests.bounds import HANGS
from tests.sweep.conftest import STAND_IN, Sweeps
from tests.sweep.killing import SCRIPT, check, killing, stand_ins, wait_for_rows


def test_runs_that_are_killed_at_random(sweeps: Sweeps, long: bool) -> None:
    number = 300 if long else 60
    with sweeps.start("guest", f"--runs={number}", "--script", SCRIPT) as process:
        wait_for_rows(sweeps, 2)
        with killing(lambda: stand_ins(sweeps), 0.4) as killed:
            _, err = process.communicate(timeout=240)
    assert process.returncode == 1, err
    assert killed
    if any(outcome.status is Status.ERROR for outcome in sweeps.outcomes()):
        sweeps.call("resume", status=1)  # one that was killed each time
    check(sweeps, number)


def test_resume_after_sigkill(sweeps: Sweeps) -> None:
    words: tuple[str, ...] = ("guest", "--runs=40", "--jobs=2", "--script", SCRIPT)
    for rows in (6, 15, 24):
        with sweeps.start(*words) as process:
            wait_for_rows(sweeps, rows)
            process.kill()
            process.communicate(timeout=HANGS)
        with Store.read(sweeps.out) as store:
            before = {row.run.number: row.outcome for row in store.rows() if row.outcome}
        assert len(before) < 40
        words = ("resume", "--jobs=2")
    sweeps.call("resume", status=1)
    check(sweeps, 40)
    with Store.read(sweeps.out) as store:  # what was there has not been executed again
        assert before.items() <= {row.run.number: row.outcome for row in store.rows()}.items()
    # What was cut short has left no files.
    assert len(os.listdir(sweeps.out / "runs")) == 40


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_run_outlives_its_sweep(sweeps: Sweeps, how: signal.Signals) -> None:
    script = "echo >begun-$GDBSTUB_RUN; exec sleep 4731"
    with sweeps.start("guest", "--runs=9", "--jobs=2", "--script", script) as process:
        while len(list(sweeps.directory.glob("begun-*"))) < 2:
            os.sched_yield()
        runs = [os.pidfd_open(pid) for pid in stand_ins(sweeps)]
        assert len(runs) == 2
        process.send_signal(how)
        _, err = process.communicate(timeout=HANGS)
    for pidfd in runs:  # each ends
        assert _ended(pidfd)
        os.close(pidfd)
    if how is not signal.SIGKILL:
        assert process.returncode == 128 + how
        assert f"gdbstub sweep resume {sweeps.out} goes on" in err
        assert "Traceback" not in err
        with Store.read(sweeps.out) as store:
            assert sum(store.counts().values()) == 0


def _ended(pidfd: int) -> bool:
    return bool(select.select([pidfd], [], [], HANGS)[0])


def test_a_second_process_on_one_sweep(sweeps: Sweeps) -> None:
    with sweeps.start("guest", "--jobs=1", "--script", "echo >begun; exec sleep 4732") as process:
        while not (sweeps.directory / "begun").exists():
            os.sched_yield()
        _, err = sweeps.call("resume", status=2)
        assert "another gdbstub sweep is at work there" in err
        text, _ = sweeps.call("show")
        assert text.startswith("0 of 1 runs")
        process.terminate()
        process.communicate(timeout=HANGS)


def test_a_full_disk(sweeps: Sweeps) -> None:
    """SQLite behaves as on a full disk when its file may not grow."""
    limit = """
import sqlite3, sys
from gdbstub.sweep import store
from gdbstub.cli.main import main
connect = store._connect
def limited(address):
    database = connect(address)
    database.execute("pragma max_page_count = 5")
    return database
store._connect = limited
main()
"""
    words = ["sweep", "guest", "--runs=60", "--jobs=1", "--script", SCRIPT]
    words += [f"--command={' '.join(STAND_IN)}", f"--out={sweeps.out}"]
    done = subprocess.run(
        [sys.executable, "-c", limit, *words], cwd=sweeps.directory, env=sweeps.environment,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=HANGS, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"{sweeps.out} cannot be written: database or disk is full; when that" in done.stderr
    assert "Traceback" not in done.stderr
    with Store.read(sweeps.out) as store:
        stored = sum(store.counts().values())
    assert 0 < stored < 60
    sweeps.call("resume", status=1)
    check(sweeps, 60)


def test_results_of_another_format(sweeps: Sweeps) -> None:
    sweeps.call("guest", "--script", "true")
    with contextlib.closing(sqlite3.connect(sweeps.out / "sweep.db")) as database:
        database.execute("pragma user_version = 99")
    _, err = sweeps.call("show", status=2)
    assert "sweep.db has version 99 of its format; expected 1" in err
    (sweeps.out / "sweep.db").write_bytes(b"no database" * 99)
    _, err = sweeps.call("show", status=2)
    assert "sweep.db cannot be read: file is not a database" in err
