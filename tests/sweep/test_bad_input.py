"""Bad input of a sweep: one clear line each, and no run is begun."""

import errno
import os
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from gdbstub.cli.main import call
from gdbstub.errors import LabError
from gdbstub.sweep.store import Store
from tests.bounds import HANGS
from tests.sweep.conftest import Sweeps

BAD = {
    ("--vary=ram=1,2",): "--vary ram: expected one of append, cpu, dtb, guest, host, initrd, ",
    ("--vary=smp",): "--vary 'smp': expected NAME=VALUE,VALUE…, as in smp=1,2",
    ("--vary=smp=",): "--vary 'smp=': an empty value; expected smp=VALUE,VALUE…",
    ("--vary=smp=1,,2",): "--vary 'smp=1,,2': an empty value; expected smp=VALUE,VALUE…",
    ("--vary=smp=1,1",): "--vary 'smp=1,1': a value comes twice; --runs N repeats runs",
    ("--vary=smp=1", "--vary=smp=2"): "--vary smp is given twice: give all values in one list",
    ("--vary=smp=random",): "random is a value of kaslr-seed alone, and its only one",
    ("--vary=kaslr-seed=random,1",): "random is a value of kaslr-seed alone, and its only one",
    ("--vary=smp=two",): "--vary smp=two: 'two' is no number",
    ("--vary=smp=1,999",): "--smp 999: a guest has 1 to ",
    ("--vary=host=moon",): "--vary host=moon: expected one of auto, kvm, lab",
    ("--vary=kaslr-seed=1,x",): "--kaslr-seed 'x': expected random, or a number of 64 bits",
    ("--vary=cpu=host,sve",): "expected",
    ("--vary=guest=other",): "--vary guest names the guests: give no other GUEST",
    ("--smp=2", "--vary=smp=1"): "--smp is given, and by --vary, too: give one of the two",
    ("absent",): "absent",
    ("--memory=1",): "--memory",
    ("--vmcore-on=moon",): "--vmcore-on",
    ("--timeout=0",): "--timeout 0: expected a number of seconds above 0",
    ("--on=moon",): "--on 'moon': expected local or dask://HOST:PORT",
    ("--on=dask://moon",): "--on dask://moon: expected dask://HOST:PORT, as in dask://host:8786",
    ("--on=dask://",): "--on dask://: expected dask://HOST:PORT, as in dask://host:8786",
    ("--on=dask://moon:99999",): "--on dask://moon:99999: expected dask://HOST:PORT, as in dask",
    ("--on=dask://[::1]:1",): "--on dask://[::1]:1: no scheduler answers there",
    ("--on=dask://moon:1", "--jobs=2"): "--jobs 2 is for --on local: dask://moon:1 has as many",
    ("--command=foo 'bar",): '--command "foo \'bar": No closing quotation; quote it as for a shell',
    ("--command=./absent",): "--command ./absent: no program is there; expected one to be executed",
    ("--command=absent-program x",): "--command absent-program: no program is there",
    ("--vary=append=a\nb",): "expected append=VALUE,VALUE…, a value with a comma in double quotes",
    ('--vary=append="a',): "expected append=VALUE,VALUE…, a value with a comma in double quotes",
    ("",): "GUEST: a file's name is missing",
    ("--initrd=",): "--initrd: a file's name is missing",
    ("--carry=",): "--carry: a file's name is missing",
    ("--runs=0",): "Invalid value for '--runs'",
    ("--runs=99999999999999999999",): "is not in the range 1<=x<=1000000",
    ("--runs=1000000", "--vary=smp=1,2"): "--runs 1000000 of 2 combinations are 2000000 runs; the "
    "most is 1000000",
    ("--jobs=0",): "Invalid value for '--jobs'",
    ("--jobs=100000",): "Invalid value for '--jobs'",
    ("--script= ",): "--script ' ': expected a command",
    ("--script=if; then",): "--script 'if; then': Syntax error: ",
    ("./guest",): "guest comes twice; --runs N repeats runs",
}


@pytest.mark.parametrize("words", BAD, ids=" ".join)
def test_an_option_that_cannot_be_used(
    sweeps: Sweeps,
    words: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(sweeps.directory)
    assert call(["sweep", "guest", "--script=true", *words, f"--out={sweeps.out}"]) == 2
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert line.startswith("gdbstub: ")
    assert BAD[words] in line
    assert out == ""
    assert not sweeps.out.exists()


def test_a_place_that_cannot_be_made(sweeps: Sweeps) -> None:
    sweeps.out = sweeps.directory / "guest" / "below"
    _, err = sweeps.call("guest", "--script=true", status=2)
    assert err == f"gdbstub: --out {sweeps.out}: Not a directory\n"


def test_a_place_that_is_a_file(sweeps: Sweeps) -> None:
    sweeps.out = sweeps.directory / "guest"
    _, err = sweeps.call("guest", "--script=true", status=2)
    assert err == f"gdbstub: --out {sweeps.out}: expected a directory, or none yet\n"


def test_no_script(sweeps: Sweeps) -> None:
    _, err = sweeps.call("guest", status=2)
    assert err == "gdbstub: Missing option '--script'; see gdbstub sweep start --help\n"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["report", "--output=", "out"], "--output: a file's name is missing"),
        (["export", "out", ""], "FILE: a file's name is missing"),
        (["show", ""], "DIR: a directory's name is missing"),
        (
            ["bisect", "--good=", "--bad=b", "b", "--script=true"],
            "--good: a file's name is missing",
        ),
        (["bisect", "--good=b", "--bad=", "b", "--script=true"], "--bad: a file's name is missing"),
    ],
)
def test_an_empty_name(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["sweep", *words]) == 2
    assert capsys.readouterr() == ("", f"gdbstub: {line}\n")


def test_a_directory_with_a_sweep(sweeps: Sweeps) -> None:
    sweeps.call("guest", "--script=true")
    _, err = sweeps.call("guest", "--script=true", status=2)
    assert err == (
        f"gdbstub: {sweeps.out} has a sweep already: gdbstub sweep resume {sweeps.out} goes on "
        "with it; give another directory by --out\n"
    )


@pytest.mark.parametrize("command", ["show", "resume", "report"])
def test_a_directory_without_a_sweep(sweeps: Sweeps, command: str) -> None:
    _, err = sweeps.call(command, status=2)
    assert err == f"gdbstub: {sweeps.out}: no sweep has its results there (sweep.db is absent)\n"


@pytest.mark.parametrize("command", ["show", "replay"])
def test_a_run_that_is_not_there(sweeps: Sweeps, command: str) -> None:
    sweeps.call("guest", "--script=true")
    _, err = sweeps.call(command, "7", status=2)
    assert err == f"gdbstub: {sweeps.out} has no run 7; its runs are 1 to 1\n"


@pytest.mark.parametrize(("command", "package"), [("report", "pygal"), ("export rows", "pyarrow")])
def test_without_the_extra(sweeps: Sweeps, command: str, package: str) -> None:
    sweeps.call("guest", "--script=true")
    broken = sweeps.directory / "broken"
    broken.mkdir()
    (broken / f"{package}.py").write_text("raise ImportError\n")
    others = sweeps.environment.get("PYTHONPATH")
    sweeps.environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(broken), others)))
    _, err = sweeps.call(*command.split(), status=2)
    (line,) = err.splitlines()
    assert package in line
    assert line.endswith("pip install 'kvm-gdbstub[sweep]'")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("out/sweep.db", "is the file of this sweep; expected another"),
        ("out/../out/lock", "is the file of this sweep; expected another"),
        ("out/sweep.db-wal", "is the file of this sweep; expected another"),
        ("out/junit.xml", "is the file of this sweep; expected another"),
        ("link", "is the file of this sweep; expected another"),
        ("guest", "is the file of GUEST; expected another"),
        ("needed", "is the file of --carry; expected another"),
        ("out/runs/mine", "is among the files of the runs; expected another"),
    ],
)
def test_the_results_and_what_the_runs_read_are_not_written_over(
    sweeps: Sweeps, name: str, why: str
) -> None:
    (sweeps.directory / "needed").write_text("years of work")
    sweeps.call("guest", "--script=true", "--carry=needed")
    (sweeps.directory / "link").hardlink_to(sweeps.out / "sweep.db")
    (sweeps.out / "runs" / "mine").write_text("the console")
    path = sweeps.directory / name
    before = path.read_bytes() if path.exists() else b""
    _, err = sweeps.call("report", f"--output={name}", status=2)
    assert err == f"gdbstub: --output {name}: {why}\n"
    _, err = sweeps.call("export", name, status=2)
    assert err == f"gdbstub: FILE {name}: {why}\n"
    assert not path.exists() or path.read_bytes() == before
    sweeps.call("show")


def test_a_guest_is_not_written_over_by_the_results(sweeps: Sweeps) -> None:
    guest = sweeps.directory / "junit.xml"
    guest.write_bytes((sweeps.directory / "guest").read_bytes())
    sweeps.out = sweeps.directory
    _, err = sweeps.call("junit.xml", "--script=true", status=2)
    assert err == f"gdbstub: --out {guest}: is the file of GUEST; expected another\n"


def test_an_empty_place(sweeps: Sweeps) -> None:
    words = [word for word in sweeps.command("guest", "--script=true") if "--out" not in word]
    done = subprocess.run(
        [*words, "--out="], cwd=sweeps.directory, env=sweeps.environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=HANGS, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "gdbstub: --out '': expected a directory for the results\n"
    assert not (sweeps.directory / "runs").exists()


@pytest.mark.parametrize("name", ["runs/mine/thesis", "junit.xml"])
def test_a_place_with_files_of_somebody_else(sweeps: Sweeps, name: str) -> None:
    theirs = sweeps.out / name
    theirs.parent.mkdir(parents=True)
    theirs.write_text("years of work")
    _, err = sweeps.call("guest", "--script=true", status=2)
    first = name.split("/")[0]
    assert err == (
        f"gdbstub: {sweeps.out}/{first} is there already, and is no sweep's (sweep.db is absent): "
        "give another directory by --out\n"
    )
    assert theirs.read_text() == "years of work"
    assert list(sweeps.out.iterdir()) == [sweeps.out / first]


def test_what_others_put_among_the_runs_stays(sweeps: Sweeps) -> None:
    sweeps.call("guest", "--script=true")
    runs = sweeps.out / "runs"
    outside = sweeps.directory / "outside"
    for directory in (outside, runs / "mine", runs / "000001-notes", runs / "000001-abcdefgh"):
        directory.mkdir()
        (directory / "file").touch()
    (runs / "000002-abcdefgh").symlink_to(outside)
    (runs / "000003-abcdefgh").touch()
    sweeps.call("resume")
    names = {path.name for path in runs.iterdir()}
    assert names > {"mine", "000001-notes", "000002-abcdefgh", "000003-abcdefgh"}
    assert "000001-abcdefgh" not in names  # as a run that was cut short leaves it
    assert (outside / "file").exists()


def test_a_sweep_that_was_cut_short_before_it_began(sweeps: Sweeps) -> None:
    sweeps.out.mkdir()
    (sweeps.out / "sweep.db").touch()
    for command in ("show", "resume"):
        _, err = sweeps.call(command, status=2)
        assert err == (
            f"gdbstub: {sweeps.out}: the sweep was cut short before it began: begin it again by "
            f"gdbstub sweep start --out {sweeps.out}\n"
        )
    sweeps.call("guest", "--script=true")
    assert len(sweeps.outcomes()) == 1


def test_a_sweep_whose_results_cannot_be_written(sweeps: Sweeps) -> None:
    script = f"mkdir {sweeps.out}/junit.xml; false"
    _, err = sweeps.call("guest", f"--script={script}", status=2)
    assert err.splitlines()[-1] == f"gdbstub: {sweeps.out}/junit.xml: Is a directory"
    (sweeps.out / "lock").unlink()
    (sweeps.out / "lock").mkdir()  # as in a directory that cannot be written, also for root
    _, err = sweeps.call("resume", status=2)
    assert err == f"gdbstub: {sweeps.out} cannot be written: Is a directory\n"
    for command in ("report --output=/absent/x", "export /absent/x"):
        _, err = sweeps.call(*command.split(), status=2)
        assert err == "gdbstub: /absent/x: No such file or directory\n"


def test_a_sweep_whose_runs_were_removed(sweeps: Sweeps) -> None:
    sweeps.call("guest", "--script=false", status=1)
    shutil.rmtree(sweeps.out / "runs")
    sweeps.call("report")
    sweeps.call("resume", status=1)


def test_names_that_are_not_unicode(sweeps: Sweeps) -> None:
    sweeps.out = sweeps.directory / os.fsdecode(b"out-\xff")
    guest = os.fsdecode(b"guest-\xff")
    (sweeps.directory / guest).write_bytes((sweeps.directory / "guest").read_bytes())
    sweeps.call(guest, "--script=false", status=1)
    assert ET.parse(sweeps.out / "junit.xml").getroot().get("name") == r"out-\udcff"
    sweeps.call("show")
    text, _ = sweeps.call("show", "1")
    assert r"/out-\udcff/runs/000001-" in text
    text, _ = sweeps.call("report")
    assert text == f"{sweeps.directory}/out-\\udcff/report.html\n"
    assert r"guest-\udcff" in (sweeps.out / "report.html").read_text(encoding="utf-8")
    name = os.fsdecode(b"rows-\xff")
    text, _ = sweeps.call("export", name)
    assert text == "1 rows in rows-\\udcff\n"


def test_the_first_bad_image_has_a_name_that_is_not_unicode(sweeps: Sweeps) -> None:
    bad = os.fsdecode(b"bad-\xff")
    (sweeps.directory / bad).write_bytes((sweeps.directory / "guest").read_bytes())
    script = "case $GDBSTUB_PARAMETERS in *bad-*) exit 1;; esac"
    words = ("bisect", "--good=guest", f"--bad={bad}", "guest", bad, "--script", script)
    text, _ = sweeps.call(*words)
    assert text == f"first bad: {sweeps.directory}/bad-\\udcff\n"


def test_a_command_by_a_relative_path(sweeps: Sweeps) -> None:
    command = sweeps.directory / "says-why"
    command.write_text("#!/bin/sh\necho nothing works\nexit 3\n")
    command.chmod(0o755)
    words = [word for word in sweeps.command("guest", "--script=true") if "--command" not in word]
    subprocess.run(
        [*words, "--command=./says-why"], cwd=sweeps.directory, env=sweeps.environment,
        stdin=subprocess.DEVNULL, capture_output=True, timeout=HANGS, check=False,
    )  # fmt: skip
    (outcome,) = sweeps.outcomes()
    assert outcome.message == "gdbstub run ended with status 3: nothing works"


def read_only(sweeps: Sweeps, *words: str) -> "subprocess.CompletedProcess[str]":
    """Call a subcommand while its directory cannot be written."""
    sweeps.out.chmod(0o555)
    # Root without the capability that lets it write there all the same.
    weaker = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]
    argv = [*(weaker if os.geteuid() == 0 else []), *sweeps.command(*words)]
    try:
        return subprocess.run(
            argv, cwd=sweeps.directory, env=sweeps.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=HANGS, check=False,
        )  # fmt: skip
    finally:
        sweeps.out.chmod(0o755)


def test_results_in_a_directory_that_cannot_be_written(sweeps: Sweeps) -> None:
    sweeps.call("guest", "--script=true")
    done = read_only(sweeps, "show")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("1 of 1 runs: 1 passed, 0 failed\n")
    done = read_only(sweeps, "report")
    said = f"gdbstub: {sweeps.out}/report.html: Permission denied\n"
    assert (done.returncode, done.stderr) == (2, said)
    (sweeps.out / "lock").unlink()
    done = read_only(sweeps, "resume")
    said = f"gdbstub: {sweeps.out} cannot be written: Permission denied\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_results_of_a_killed_sweep_in_a_directory_that_cannot_be_written(sweeps: Sweeps) -> None:
    with sweeps.start("guest", "--jobs=1", "--script", "echo >begun; exec sleep 4733") as process:
        while not (sweeps.directory / "begun").exists():
            os.sched_yield()
        process.kill()
        process.communicate(timeout=HANGS)
    (sweeps.out / "sweep.db-shm").unlink()
    for words in (("show",), ("report",), ("resume",), ("replay", "1")):
        done = read_only(sweeps, *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            f"gdbstub: {sweeps.out}/sweep.db cannot be read: SQLite must be able to write in "
            f"{sweeps.out}, since not all rows are in the file yet; copy the directory to where "
            "that is so\n"
        )


@pytest.mark.parametrize("words", ["report --output=/dev/full", "export /dev/full"])
def test_a_full_disk_for_what_is_made_of_the_results(sweeps: Sweeps, words: str) -> None:
    sweeps.call("guest", "--script=true")
    _, err = sweeps.call(*words.split(), status=2)
    assert err == "gdbstub: /dev/full: No space left on device\n"


@pytest.mark.parametrize(
    "error", [LabError("no lab"), OSError(errno.EIO, os.strerror(errno.EIO), "sweep.db")]
)
def test_status_1_is_for_runs_that_failed(
    error: Exception,
    sweeps: Sweeps,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def read(directory: Path) -> Store:
        raise error

    monkeypatch.setattr(Store, "read", read)
    assert call(["sweep", "show", str(sweeps.out)]) == 2
    assert capsys.readouterr().err in (
        "gdbstub: no lab\n",
        "gdbstub: sweep.db: Input/output error\n",
    )
