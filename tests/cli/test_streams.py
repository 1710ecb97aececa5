"""The program with streams and directories that fail: one line, or quiet, and never a traceback."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from gdbstub.cli import main
from gdbstub.cli.commands import group as commands
from gdbstub.cli.serving import serve
from gdbstub.errors import LabError, StubError
from gdbstub.kvm import native
from gdbstub.lab import cache

DOCTOR = [sys.executable, "-m", "gdbstub", "doctor", "--json"]
BAD = [sys.executable, "-m", "gdbstub", "run", "absent.elf", "--gdb", "localhost:0"]


def dangling(tmp_path: Path) -> str:
    (tmp_path / "link").symlink_to(tmp_path / "absent" / "deep")
    return str(tmp_path / "link")


def loop(tmp_path: Path) -> str:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    return str(tmp_path / "loop")


def a_file(tmp_path: Path) -> str:
    (tmp_path / "file").touch()
    return str(tmp_path / "file")


@pytest.mark.parametrize(
    "place",
    [
        dangling,
        loop,
        a_file,
        lambda _: "/proc/nope",
        lambda _: "/dev/null",
        lambda _: "/" + "a" * 300,
    ],
    ids=["dangling", "loop", "file", "proc", "device", "long"],
)
def test_a_cache_that_cannot_be_made_is_one_line(
    place: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(place)
    monkeypatch.setenv("XDG_CACHE_HOME", place(tmp_path))
    with pytest.raises(LabError, match="set XDG_CACHE_HOME to a directory of yours") as caught:
        cache.root()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "number", [errno.EIO, errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.EDQUOT]
)
def test_any_failure_of_the_file_system_is_one_line(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def build(directory: Path) -> None:
        raise OSError(number, os.strerror(number), str(directory))

    with pytest.raises(LabError) as caught:
        cache.entry("thing", ["a"], build)
    assert "\n" not in str(caught.value)


_NO_MEMORY = "out of memory: give the guest less by --memory, or free some; see ulimit -v"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            OSError(errno.EMFILE, "Too many open files", "/x"),
            "/x: Too many open files: close some, or allow more by ulimit -n",
        ),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), _NO_MEMORY),
        (ImportError("/x.so: failed to map segment from shared object"), _NO_MEMORY),
        (ImportError("/x.so: cannot allocate memory in static TLS block"), _NO_MEMORY),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (MemoryError(), _NO_MEMORY),
        (
            RuntimeError("can't start new thread"),
            "can't start new thread: free some memory, or see ulimit -u and ulimit -v",
        ),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "Broken pipe"),
    ],
)
def test_what_nobody_has_foreseen_is_one_line(
    error: BaseException,
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(commands.commands, "main", fail)
    assert main.call(["doctor"]) == 1
    assert capsys.readouterr().err == f"gdbstub: {line}\n"


def test_an_event_loop_that_cannot_be_made_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python has no coroutine to warn of."""

    async def session(_: object) -> int:
        return 0

    def fail() -> NoReturn:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("asyncio.events.new_event_loop", fail)
    with pytest.raises(OSError, match="Too many open files"):
        serve.run_to_end(session)


@pytest.mark.parametrize(
    ("there", "remedy"), [(True, "see ulimit -n and ulimit -v"), (False, "install a C compiler")]
)
def test_a_native_core_that_cannot_be_opened_names_the_remedy(
    there: bool, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if there:
        (tmp_path / "core.so").write_text("no library")
    monkeypatch.setattr(native, "__file__", str(tmp_path / "native.py"))
    with pytest.raises(StubError, match=remedy):
        native.core.__wrapped__()


@pytest.mark.parametrize(
    "redirection", ["2>&-", "2>/dev/full", "2>&1 1>/dev/null | true", "<&- 2>&-"]
)
def test_a_standard_error_that_fails_changes_no_status(redirection: str, tmp_path: Path) -> None:
    line = f'set -o pipefail; "$@" {redirection}'
    done = subprocess.run(["bash", "-c", line, "bash", *BAD], cwd=tmp_path, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"")


@pytest.mark.parametrize("word", ["doctor", "doctor --json", "--version", "--help"])
@pytest.mark.parametrize("unread", [True, False])
def test_a_standard_output_that_fails_is_one_line_or_none(word: str, unread: bool) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    full = os.open("/dev/full", os.O_WRONLY)
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    done = subprocess.run(
        [sys.executable, "-m", "gdbstub", *word.split()],
        env=buffered,
        stdout=writing if unread else full,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    os.close(full)
    assert done.returncode == 1
    if unread:
        assert done.stderr == ""
    else:
        assert re.fullmatch(r"gdbstub: .*No space left on device\n", done.stderr)


def test_messages_go_on_when_some_could_not_be_written() -> None:
    code = (
        "import os, sys\n"
        "from gdbstub.cli.main import open_missing_streams\n"
        "open_missing_streams()\n"
        "good = os.dup(2)\n"
        "os.dup2(os.open('/dev/full', os.O_WRONLY), 2)\n"
        "print('lost', file=sys.stderr, flush=True)\n"
        "os.dup2(good, 2)\n"
        "print('shown', file=sys.stderr, flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr.splitlines()[-1:]) == (0, ["shown"])
