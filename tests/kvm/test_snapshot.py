"""Labs restored from a snapshot, and snapshots that cannot be used or made."""

import contextlib
import hashlib
import json
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from gdbstub.errors import LabError
from gdbstub.lab import migration, monitor, opening, overlay, prepared, snapshot
from gdbstub.lab.directories import PREFIX
from gdbstub.lab.host import VARIABLE, Lab
from gdbstub.lab.processes import ProcessFiles
from gdbstub.lab.qemu import Options
from tests.kvm.caches import copy_snapshot, snapshots, without_snapshots
from tests.kvm.stub import Lines

pytestmark = pytest.mark.lengthy

LAB: Final = [sys.executable, "-m", "gdbstub", "lab"]
BOUND: Final = 240.0
MAKING: Final = "gdbstub: saving the lab, for faster starts: "


@pytest.fixture(scope="module")
def made() -> Path:
    """The snapshot of the usual lab."""
    return snapshot.prepare(Options()).directory


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A short directory for labs, empty in the end."""
    with tempfile.TemporaryDirectory(prefix="lab") as name:
        yield Path(name)
        left = os.listdir(name)
        for lab in left:  # of a test that failed while one was up
            with contextlib.suppress(LabError):
                monitor.quit_qemu(ProcessFiles(Path(name, lab)).monitor)
        assert left == []


@pytest.fixture
def environment(tmp_path: Path, place: Path) -> dict[str, str]:
    """An environment with no lab and no snapshot."""
    own = {name: text for name, text in os.environ.items() if name != VARIABLE}
    own.pop("XDG_RUNTIME_DIR", None)
    return {**own, "TMPDIR": str(place), **without_snapshots(tmp_path / "cache")}


def output(lab: Lab, *argv: str) -> bytes:
    return lab.run(argv).stdout


def test_each_restored_lab_is_one_of_its_own(made: Path) -> None:
    before = (made / "ram").stat()
    with opening.start_lab(Options()) as one, opening.start_lab(Options()) as other:
        output(one, "touch", "/root/mine")
        assert output(one, "ls", "/root") == b"mine\n"
        assert output(other, "ls", "/root") == b""
        random = "/proc/sys/kernel/random/uuid"
        assert output(one, "cat", random) != output(other, "cat", random)
        for lab in (one, other):
            assert abs(int(output(lab, "date", "+%s")) - time.time()) < BOUND
            assert lab.run(["test", "-e", prepared.SAVED], check=False).returncode == 1
            assert output(lab, "cat", "/run/lab/prepared.log") == b""
    after = (made / "ram").stat()
    assert (before.st_mtime_ns, before.st_blocks) == (after.st_mtime_ns, after.st_blocks)


def test_a_changed_source_is_what_runs(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without another snapshot, and back again."""
    project = tmp_path / "gdbstub"
    shutil.copytree(overlay.PROJECT, project, ignore=overlay.SKIPPED)
    (project / "__init__.py").write_text('"""Changed."""\n__version__ = "4711"\n')
    with monkeypatch.context() as changed, opening.start_lab(Options()) as own:
        usual = output(own, "gdbstub", "--version")
        changed.setattr(overlay, "PROJECT", project)
        opening.renew_source(own)
        assert output(own, "gdbstub", "--version") == b"gdbstub, version 4711\n"
        changed.undo()
        opening.renew_source(own)
        assert output(own, "gdbstub", "--version") == usual


def test_a_source_that_cannot_be_prepared(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python then runs the program in a process of its own; as without a prepared process."""
    project = tmp_path / "gdbstub"
    shutil.copytree(overlay.PROJECT, project, ignore=overlay.SKIPPED)
    with opening.start_lab(Options()) as own:
        usual = output(own, "gdbstub", "--version")
        (project / "unfinished.py").write_text('"""Unfinished."""\nraise ValueError\n')
        monkeypatch.setattr(overlay, "PROJECT", project)
        opening.renew_source(own)
        assert output(own, "gdbstub", "--version") == usual
        assert b"ValueError" in output(own, "cat", "/run/lab/prepared.log")
        (project / "unfinished.py").unlink()
        opening.renew_source(own)
        assert output(own, "gdbstub", "--version") == usual
        output(own, "sh", "-c", "kill -9 $(cat /run/lab/prepared.pid)")
        assert output(own, "gdbstub", "--version") == usual


def test_a_qemu_that_is_too_old(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = ProcessFiles(lab.directory).monitor
    migration.check(monitor)
    monkeypatch.setattr(migration, "IGNORE_SHARED", "x-of-another-time")
    with pytest.raises(LabError, match="this QEMU has no migration capability x-of-another-time"):
        migration.check(monitor)


def run_lab(environment: dict[str, str], *argv: str) -> "subprocess.Popen[bytes]":
    pipe = subprocess.PIPE
    line = [*LAB, *argv]
    return subprocess.Popen(
        line, env=environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe
    )


def test_a_truncated_snapshot_is_made_anew_by_one_of_two(
    made: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    copy = copy_snapshot(made, tmp_path / "cache")
    assert snapshot.fault(copy) == ""
    (copy / "ram").unlink()
    with (copy / "ram").open("wb") as ram:
        ram.truncate(1 << 20)
    both = [run_lab(environment, "run", "--", "uname", "-n") for _ in range(2)]
    said = [process.communicate(timeout=BOUND) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert [out for out, _ in said] == [b"lab\n", b"lab\n"]
    first, second = sorted((err.decode() for _, err in said), key=len, reverse=True)
    why = f"its memory has {1 << 20} of {2 << 30} bytes"
    assert first.count(why) == 1
    assert re.match(rf"gdbstub: the cache's snapshot-\w+ is damaged \({re.escape(why)}\)", first)
    assert MAKING in first
    assert second == "gdbstub: another process is preparing the snapshot: waiting for it\n"
    assert snapshot.fault(copy) == ""


def test_a_state_that_qemu_refuses_and_no_room_for_another(
    made: Path,
    tmp_path: Path,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = copy_snapshot(made, tmp_path / "cache")
    garbage = os.urandom(1000)
    (copy / "state").write_bytes(garbage)
    fields = json.loads((copy / snapshot.MANIFEST).read_bytes())
    fields["state_digest"] = hashlib.sha256(garbage).hexdigest()
    (copy / snapshot.MANIFEST).write_text(json.dumps(fields))
    for name in ("TMPDIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, environment[name])
    monkeypatch.setattr(snapshot, "NEEDED_BYTES", 1 << 60)
    with opening.start_lab(Options()) as booted:
        assert output(booted, "uname", "-n") == b"lab\n"
    first, second, *others = capsys.readouterr().err.splitlines()
    assert first.startswith("gdbstub: the lab's snapshot cannot be used (")
    assert second.startswith("gdbstub: the lab boots without a snapshot: ")
    assert " MB left" in second
    assert [line for line in others if "starting the lab" not in line] == []
    assert snapshots(tmp_path / "cache") == []


def test_a_disk_that_fills_up(tmp_path: Path, environment: dict[str, str]) -> None:
    """While the memory's file is made; the lab boots all the same."""

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    done = subprocess.run(
        [*LAB, "run", "--", "uname", "-n"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BOUND,
        preexec_fn=small_files,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "lab\n"), done.stderr
    assert done.stderr.count("gdbstub: the lab boots without a snapshot: ") == 1
    assert snapshots(tmp_path / "cache") == []


def test_ctrl_c_while_a_snapshot_is_written(tmp_path: Path, environment: dict[str, str]) -> None:
    with run_lab(environment, "run", "--", "true") as process:
        assert process.stderr
        messages = Lines(process.stderr)
        messages.wait_for(MAKING)
        process.send_signal(signal.SIGINT)
        assert process.wait(BOUND) == 130
        assert "Traceback" not in messages.rest()
    assert snapshots(tmp_path / "cache") == []


def test_a_lab_that_stays_up(place: Path, made: Path, environment: dict[str, str]) -> None:
    del environment["XDG_CACHE_HOME"]

    def call(*argv: str) -> tuple[int, str, str]:
        with run_lab(environment, *argv) as process:
            out, err = process.communicate(timeout=BOUND)
        return process.returncode, out.decode(), err.decode()

    assert call("down") == (1, "", "gdbstub: no lab is up\n")
    status, out, err = call("up")
    assert (status, err) == (0, "")
    name = out.rstrip("\n")
    assert name.startswith(PREFIX)
    assert call("up") == (1, "", f"gdbstub: such a lab is up already: {name}\n")
    used = f"gdbstub: using the lab that is up ({name}); gdbstub lab down ends it\n"
    assert call("run", "--", "touch", "/root/seen") == (0, "", used)
    assert call("run", "--", "ls", "/root") == (0, "seen\n", used)
    status, out, _ = call("list")
    assert (status, out.split()[0]) == (0, name)
    assert call("down", "another") == (1, "", "gdbstub: no lab another is up\n")
    assert call("down", name) == (0, "", "")
    assert call("list") == (0, "", "gdbstub: no lab is up\n")


def test_a_lab_that_was_up_and_is_killed(
    place: Path, made: Path, environment: dict[str, str]
) -> None:
    """The guard is killed too, as by the kernel when memory is short."""
    del environment["XDG_CACHE_HOME"]
    with run_lab(environment, "up") as process:
        out, err = process.communicate(timeout=BOUND)
    assert process.returncode == 0, err
    name = out.decode().rstrip("\n")
    guard = next(
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if f"guard.py\0{place / name}\0".encode() in path.read_bytes()
    )
    ended = select.poll()
    ended.register(os.pidfd_open(guard), select.POLLIN)
    os.kill(guard, signal.SIGKILL)
    ended.poll()
    with run_lab(environment, "list") as process:
        out, err = process.communicate(timeout=BOUND)
    lines = f"gdbstub: the lab {name} has ended without lab down: its files are removed\n"
    lines += "gdbstub: no lab is up\n"
    assert (process.returncode, out, err.decode()) == (0, b"", lines)
