"""Programs that the lab runs: none outlives who runs it."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

import pytest

from gdbstub.cli.main import call
from gdbstub.errors import InputError, LabError
from gdbstub.lab import debian, demo, tools


class Ended(Exception):
    pass


@pytest.fixture
def ended_by_sigterm() -> Iterator[None]:
    def end(_signum: int, _frame: FrameType | None) -> NoReturn:
        raise Ended

    before = signal.signal(signal.SIGTERM, end)
    yield
    assert signal.getsignal(signal.SIGTERM) is end
    signal.signal(signal.SIGTERM, before)


WHILE_IT_RUNS = "exec sleep 4720"
WHILE_IT_IS_STARTED = f"kill -TERM $PPID; {WHILE_IT_RUNS}"


@pytest.fixture(params=[WHILE_IT_RUNS, WHILE_IT_IS_STARTED])
def command(request: pytest.FixtureRequest) -> str:
    """A shell's, of a program in whose time the signal comes."""
    return str(request.param)


@pytest.fixture
def started(
    command: str, ended_by_sigterm: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[int]]:
    """The processes that a test starts, each of which must be gone at its end."""
    pids: list[int] = []

    class Popen(subprocess.Popen[bytes]):
        def _execute_child(self, *arguments: object) -> None:
            super()._execute_child(*arguments)  # type: ignore[misc]
            pids.append(self.pid)
            if command == WHILE_IT_RUNS:
                os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    yield pids
    assert pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):  # not even as a zombie
            os.kill(pid, 0)


@pytest.mark.usefixtures("started")
def test_a_signal_ends_a_program_with_who_runs_it(command: str) -> None:
    with pytest.raises(Ended):
        tools.call(["sh", "-c", command])


@pytest.mark.usefixtures("started")
def test_a_signal_ends_the_programs_that_unpack(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # One signal: a second one would come while the first ends the programs.
    for name, does in ("dpkg-deb", WHILE_IT_RUNS), ("tar", command):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(Ended):
        debian.unpack(tmp_path / "any.deb", tmp_path)


def test_what_a_program_is_given_and_says() -> None:
    done = tools.call(["sh", "-c", "cat; echo no >&2; exit 3"], stdin=b"yes")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"yes", b"no\n")


@pytest.mark.parametrize("name", ["vmlinux_to_elf", "json"])
def test_a_module_in_the_working_directory_is_not_executed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel may be in a directory that somebody else has filled, as one of a bug report."""
    (tmp_path / f"{name}.py").write_text("raise SystemExit('executed')")
    (tmp_path / "Image").write_bytes(b"no kernel")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        demo._symbolize(tmp_path / "Image", tmp_path)
    assert "executed" not in str(caught.value)


def test_a_missing_python_package_is_named_with_the_extra_that_has_it() -> None:
    tools.require_module("click")
    for name in ("absent", "absent.module", "click.absent"):
        line = rf"the Python package {name} is not installed: .* pip install 'kvm-gdbstub\[lab\]'"
        with pytest.raises(LabError, match=line):
            tools.require_module(name)


def test_a_run_misses_the_lab_s_packages_before_it_makes_anything(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tools, "has_module", lambda name: name != "qemu.qmp")
    monkeypatch.setattr("gdbstub.lab.demo.prepare", lambda: pytest.fail("it is too late"))
    assert call(["run", "--host=lab", "--gdb=localhost:0"]) == 1
    assert "the Python package qemu.qmp is not installed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("release", "line"),
    [
        (
            "debian trixie",
            "cannot get the arm64 package python3 .*: the apt sources offer no arm64",
        ),
        (
            "ubuntu noble",
            "the lab is made of Debian's packages, and this is ubuntu noble: name a mirror of "
            "Debian and a release, as GDBSTUB_DEBIAN='https://MIRROR/debian trixie' does, or use a",
        ),
    ],
)
def test_sources_without_arm64_packages_are_explained(
    release: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(debian.MIRROR, raising=False)
    monkeypatch.setattr(debian, "release", lambda: release)
    monkeypatch.setattr(tools, "require", lambda *_: None)
    failed = subprocess.CompletedProcess([], 100, b"", b"")
    monkeypatch.setattr(tools, "call", lambda *_, **__: failed)
    with pytest.raises(LabError, match=f"^{line}"):
        debian.Arm64(tmp_path, tmp_path).show("python3")
