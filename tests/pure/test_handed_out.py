"""Core files that a stub in the lab hands out, with a lab whose commands are executed here."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import pytest

from gdbstub.lab.port_forwards import StdioForward
from gdbstub.lab.remote_run import RemoteRun, RunRequest
from gdbstub.linux.core_file import HANDED_OUT, Write, handed_out
from gdbstub.slices import in_slices

if TYPE_CHECKING:
    from gdbstub.lab.host import Lab


class _Here:
    def popen(
        self, argv: Sequence[str], *, stdin: int, stdout: int, new_session: bool
    ) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(argv, stdin=stdin, stdout=stdout, start_new_session=new_session)

    def run(self, argv: Sequence[str]) -> None:
        subprocess.run(argv, check=True)


class _Taken:
    """The side outside of the lab: it takes one file, as the lines of the stub say."""

    def __init__(self, lines: IO[bytes]) -> None:
        self._lines = lines
        self._run = object.__new__(RemoteRun)
        self._run._request = RunRequest([], StdioForward())
        self._run._lab = cast("Lab", _Here())
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def _take(self) -> None:
        match = HANDED_OUT.fullmatch(self._lines.readline())
        assert match
        self._run._take_file(match[1].decode(), match[2].decode())

    def said(self) -> str:
        """Return what is printed until the file is taken."""
        self._thread.join()
        sys.stderr.close()
        with self._lines:
            return self._lines.read().decode()


def _taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Taken:
    monkeypatch.chdir(tmp_path)
    ours, theirs = os.pipe()
    monkeypatch.setattr(sys, "stderr", os.fdopen(theirs, "w"))
    return _Taken(os.fdopen(ours, "rb"))


def test_a_file_that_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = _taken(tmp_path, monkeypatch)
    with handed_out("core") as write:
        write(b"RAM" * 100_000)
    assert taken.said() == ""
    assert (tmp_path / "core").read_bytes() == b"RAM" * 100_000


def _fail(write: Write) -> None:
    write(b"RAM")
    raise KeyError


def _cancel(write: Write) -> None:
    while True:
        write(os.urandom(1 << 16))


@pytest.mark.parametrize("end", [_fail, _cancel])
def test_a_file_that_is_cut_short_is_removed(
    end: Callable[[Write], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command fails, or is cancelled, as when a client interrupts it or leaves."""
    taken = _taken(tmp_path, monkeypatch)

    def work() -> None:
        with handed_out("core") as write:
            end(write)

    slices = in_slices(work)
    try:
        for _ in slices:
            if (tmp_path / "core").exists() and (tmp_path / "core").stat().st_size:
                break
    except KeyError:
        assert end is _fail
    slices.close()
    assert taken.said() == (
        f"gdbstub: {tmp_path}/core: the command that writes it, or the connection to the lab, "
        "ended before the file did\n"
    )
    assert not (tmp_path / "core").exists()
