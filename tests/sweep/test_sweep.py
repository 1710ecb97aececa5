"""``gdbstub sweep`` over a stand-in for ``gdbstub run``."""

import json
import re
import socket
import subprocess
import xml.etree.ElementTree as ET

import pytest

from gdbstub.cli.main import call
from gdbstub.sweep import execute
from gdbstub.sweep.outcome import Status
from gdbstub.sweep.scheduler import ATTEMPTS
from gdbstub.sweep.store import Store
from tests.bounds import HANGS
from tests.sweep.conftest import STAND_IN, Sweeps
from tests.sweep.in_process import sweep

#: Fails in runs of two vCPUs, as GDB would show it.
RACE = """
echo "$GDBSTUB_RUN $GDBSTUB_PARAMETERS" >>seen
case $GDBSTUB_PARAMETERS in *'"smp": "2"'*)
    echo "Thread 1 hit Breakpoint 1, 0xffff800008010000 in panic ()"
    echo "#0  0xffff80000801$GDBSTUB_RUN in panic (fmt=0x1)"
    echo "#1  schedule (arg=$GDBSTUB_RUN) at kernel/sched/core.c:1"
    echo "#2  0xffff800008010008 in main ()"
    exit 7;; esac
"""


def test_a_row_for_each_run(sweeps: Sweeps) -> None:
    words = ("guest", "--vary=smp=1,2", "--memory=64M", "--runs=3", "--seed=5")
    _, err = sweeps.call(*words, "--script", RACE, status=1)
    assert "6 of 6 runs: 3 passed, 3 failed" in err
    with Store.read(sweeps.out) as store:
        rows = list(store.rows())
    assert [row.run.number for row in rows] == [1, 2, 3, 4, 5, 6]
    for run, outcome in rows:
        assert outcome is not None
        assert run.parameters == {
            "memory": "64M",
            "smp": "1" if run.number % 2 else "2",
            "guest": str(sweeps.directory / "guest"),
        }
        assert (sweeps.out / outcome.files / "console.txt").read_text() == outcome.console
        assert outcome.console == f"run {run.number} boots\n"
        if run.number % 2:
            assert outcome[1:5] == (Status.PASSED, 0, "", "")
        else:
            assert outcome[1:5] == (Status.FAILED, 7, "watch", "panic < schedule < main")
            assert outcome.signature == "status 7 · watch · panic < schedule < main"
            assert (sweeps.out / outcome.files / "record.txt").read_text().startswith("<- $?\n")
    # A script sees the number and the parameters of its run.
    seen = dict(line.split(" ", 1) for line in (sweeps.directory / "seen").read_text().splitlines())
    for run, _ in rows:
        assert json.loads(seen[str(run.number)]) == {**run.parameters, "seed": run.seed}
    assert len({run.seed for run, _ in rows}) == 6


def test_the_same_seed_plans_the_same_runs(sweeps: Sweeps) -> None:
    found = []
    for name in ("first", "second"):
        sweeps.out = sweeps.directory / name
        words = ("guest", "--vary=kaslr-seed=random", "--runs=3", "--seed=5")
        sweeps.call(*words, "--script", "true")
        with Store.read(sweeps.out) as store:
            found.append([row.run for row in store.rows()])
    assert found[0] == found[1]
    assert len({run.parameters["kaslr-seed"] for run in found[0]}) == 3


def test_until_failure(sweeps: Sweeps) -> None:
    words = ("guest", "--runs=40", "--jobs=1", "--until=failure")
    sweeps.call(*words, "--script", "test $GDBSTUB_RUN != 3", status=1)
    assert [outcome.status for outcome in sweeps.outcomes()] == [*["passed"] * 2, "failed"]
    # What was to be found is found.
    sweeps.call("resume", status=1)
    assert len(sweeps.outcomes()) == 3


def test_a_script_that_takes_too_long(sweeps: Sweeps) -> None:
    sweeps.call("guest", "--timeout=0.2", "--script", "sleep 4730 & sleep 4730", status=1)
    (outcome,) = sweeps.outcomes()
    assert (outcome.status, outcome.exit_status) == (Status.TIMEOUT, None)
    assert outcome.signature == "timeout · watch"


@pytest.mark.parametrize("fault", ["once-killed", "once-lab", "once-stuck"])
def test_a_run_that_is_lost_is_executed_again(
    sweeps: Sweeps, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", sweeps.environment["STAND_IN"])
    script = "exit 3" if fault == "once-lab" else "true"
    outcomes = sweep(sweeps, {"append": fault}, script, start_timeout=0.3)
    assert [outcome.attempt for outcome in outcomes] == [2, 2]
    assert {outcome.exit_status for outcome in outcomes} == {3 if fault == "once-lab" else 0}


def test_a_run_that_is_lost_each_time_is_marked_and_no_other(sweeps: Sweeps) -> None:
    words = ("guest", "--vary=append=fine,killed", "--runs=2", "--jobs=1")
    sweeps.call(*words, "--script", "true", status=2)
    assert [(outcome.status, outcome.attempt) for outcome in sweeps.outcomes()] == [
        ("passed", 1), ("error", ATTEMPTS), ("passed", 1), ("error", ATTEMPTS)
    ]  # fmt: skip
    assert sweeps.outcomes()[1].message == "gdbstub run was killed by SIGKILL"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("absent-program", "the script ended with status 127, as when a program is not found: "),
        ("./guest", "the script ended with status 126, as when a file cannot be executed: "),
    ],
)
def test_a_script_that_is_not_found_has_no_verdict(sweeps: Sweeps, script: str, said: str) -> None:
    _, err = sweeps.call("guest", "--runs=9", "--jobs=1", "--script", script, status=2)
    assert "is executed again" not in err  # it would not be found then, either
    outcomes = sweeps.outcomes()
    assert [(each.status, each.attempt) for each in outcomes] == [("error", 1)] * 3
    assert outcomes[0].message.startswith(said)
    assert script in outcomes[0].message


def test_a_sweep_of_which_no_run_can_begin_ends(sweeps: Sweeps) -> None:
    words = ("guest", "--append=refused", "--runs=100", "--jobs=1")
    _, err = sweeps.call(*words, "--script", "true", status=2)
    assert len(sweeps.outcomes()) == 3
    assert "--smp 9999: a guest has 1 to 123 vCPUs; when that is mended, gdbstub sweep res" in err


def test_a_run_without_files(
    sweeps: Sweeps, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(execute, "NEEDED_BYTES", 1 << 60)
    words = [f"--command={' '.join(STAND_IN)}", f"--out={sweeps.out}", "--script=true"]
    assert call(["sweep", str(sweeps.directory / "guest"), *words]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "gdbstub: 1 × error: first in run 1"
    assert call(["sweep", "show", str(sweeps.out), "1"]) == 0
    assert f"\non {socket.gethostname()}, attempt 5\n" in capsys.readouterr().out


def test_the_first_of_a_group_is_kept_whole(sweeps: Sweeps) -> None:
    # As a core file would be written: into the directory of the stub.
    command = "sh -c 'mkdir more; echo >core; exec \"$@\"' sh"
    script = "test $GDBSTUB_RUN = 1 || exit 4"
    words = sweeps.command("guest", "--runs=3", "--jobs=1", "--script", script)
    words = [word.replace("--command=", f"--command={command} ") for word in words]
    done = subprocess.run(words, cwd=sweeps.directory, env=sweeps.environment, check=False)
    assert done.returncode == 1
    kept = {
        outcome.number: sorted(path.name for path in (sweeps.out / outcome.files).iterdir())
        for outcome in sweeps.outcomes()
    }
    usual = ["console.txt", "output.txt", "record.txt"]
    assert kept == {1: usual, 2: sorted([*usual, "core", "more"]), 3: usual}


def test_junit(sweeps: Sweeps) -> None:
    sweeps.call("guest", "--vary=smp=1,2", "--runs=2", "--script", RACE, status=1)
    suite = ET.parse(sweeps.out / "junit.xml").getroot()
    wanted = {"name": "out", "tests": "4", "failures": "2", "errors": "0", "skipped": "0"}
    assert wanted.items() <= suite.attrib.items()
    case = suite[1]
    assert case.get("name") == f"run 2 smp=2 guest={sweeps.directory / 'guest'}"
    assert (failure := case.find("failure")) is not None
    assert failure.get("message") == "status 7 · watch · panic < schedule < main"
    assert (console := case.find("system-err")) is not None
    assert console.text == "run 2 boots\n"


def test_show_and_replay(sweeps: Sweeps) -> None:
    sweeps.call("guest", "--vary=smp=1,2", "--runs=2", "--script", RACE, status=1)
    text, _ = sweeps.call("show")
    assert text.splitlines() == [
        "4 of 4 runs: 2 passed, 2 failed",
        "  smp=1: 2 passed",
        "  smp=2: 2 failed",
        "2 × status 7 · watch · panic < schedule < main",
        "  runs 2 4",
    ]
    text, _ = sweeps.call("show", "4")
    assert "failed" in text
    assert "  run 4 boots" in text
    (sweeps.directory / "seen").unlink()
    sweeps.environment["GDBSTUB_RUN"] = "of another sweep"
    with Store.read(sweeps.out) as store:
        run = store.row(4).run
    sweeps.call("replay", "4", status=7)
    number, parameters = (sweeps.directory / "seen").read_text().split(" ", 1)
    assert (number, json.loads(parameters)) == ("4", {**run.parameters, "seed": run.seed})


def test_replay_writes_no_core_file_and_needs_no_time(sweeps: Sweeps) -> None:
    echo = sweeps.directory / "echo-words"
    echo.write_text(f'#!/bin/sh\necho words: "$@"\nexec {" ".join(STAND_IN)} "$@"\n')
    echo.chmod(0o755)
    words = sweeps.command("guest", "--vmcore-on=timeout", "--script=true")
    words = [f"--command={echo}" if word.startswith("--command=") else word for word in words]
    subprocess.run(
        words, cwd=sweeps.directory, env=sweeps.environment, stdin=subprocess.DEVNULL,
        timeout=HANGS, check=True,
    )  # fmt: skip
    (outcome,) = sweeps.outcomes()
    assert " --vmcore-on timeout core.zst --script=" in outcome.output
    text, _ = sweeps.call("replay", "1")
    assert "vmcore" not in text
    process = sweeps.start("replay", "--attach", "1")
    text, _ = process.communicate(timeout=HANGS)
    assert re.match(r"words: \S+/guest\n", text)


def test_what_a_script_prints_controls_no_terminal(sweeps: Sweeps) -> None:
    script = r"printf '#0  0x1 in f\033[31mg ()\n22\tsource\n'; exit 1"
    _, err = sweeps.call("guest", "--script", script, status=1)
    assert r"f\x1b[31mg" in err
    said = [*sweeps.call("show"), *sweeps.call("show", "1"), err]
    assert "  22      source\n" in said[2]
    assert not [text for text in said if "\x1b" in text]
