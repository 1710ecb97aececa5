"""Core files that a stub in the lab hands out, with a lab whose commands are executed here."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import pytest
import zstandard

from gdbstub.lab import core_files
from gdbstub.lab.core_files import BESIDE, CoreFiles
from gdbstub.linux import vmcore
from gdbstub.linux.core_file import CoreOutput
from gdbstub.linux.handed_out import HANDED_OUT, Part, handed_out, literal
from gdbstub.slices import in_slices

if TYPE_CHECKING:
    from gdbstub.lab.host import Lab


#: The first header of a core file, as ``linux.vmcore`` writes it.
CORE = vmcore.vmcoreinfo_file(b"")


class _Here:
    def popen(
        self, argv: Sequence[str], *, stdin: int, stdout: int, new_session: bool
    ) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(argv, stdin=stdin, stdout=stdout, start_new_session=new_session)

    def run(self, argv: Sequence[str], timeout: float) -> None:
        subprocess.run(argv, check=True, timeout=timeout)


def files(memory: int = 1 << 20) -> CoreFiles:
    """Return the taker of a guest with *memory* bytes."""
    return CoreFiles(cast("Lab", _Here()), None, memory)


class _Taken:
    """The side outside of the lab: it takes one file, as the lines of the stub say."""

    def __init__(self, lines: IO[bytes]) -> None:
        self._lines = lines
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def _take(self) -> None:
        match = HANDED_OUT.fullmatch(self._lines.readline())
        assert match
        files().take(match[1].decode(), match[2].decode())

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
    with handed_out("core") as file:
        file.write(CORE)
        file.write(b"RAM" * 100_000)
    assert taken.said() == ""
    assert (tmp_path / "core").read_bytes() == CORE + b"RAM" * 100_000


def _fail(file: CoreOutput) -> None:
    file.write(CORE)
    raise KeyError


def _cancel(file: CoreOutput) -> None:
    file.write(CORE)
    while True:
        file.write(os.urandom(1 << 16))


@pytest.mark.parametrize("end", [_fail, _cancel])
def test_a_file_that_is_cut_short_is_removed(
    end: Callable[[CoreOutput], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command fails, or is cancelled, as when a client interrupts it or leaves."""
    taken = _taken(tmp_path, monkeypatch)

    def work() -> None:
        with handed_out("core") as file:
            end(file)

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


def sending(data: bytes) -> str:
    """Return the words of a shell that sends *data*, compressed."""
    octal = "".join(f"\\{byte:03o}" for byte in zstandard.ZstdCompressor().compress(data))
    return f"printf '{octal}'"


NO_CORE = "what the lab sends is no ELF core file: nothing is written"
CUT = "the command that writes it, or the connection to the lab, ended before the file did"
SILENT = "the lab has sent nothing for 0.2 s: nothing is written"
LARGE = "the lab sends more than 17 MiB, the guest's RAM and 16 MiB: nothing is written"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("command", "said"),
    [
        (sending(literal(b"import os")), NO_CORE),
        (sending(literal(CORE[:16] + b"\x03" + CORE[17:])), NO_CORE),  # a library
        (sending(literal(b"\x7f")), NO_CORE),
        (sending(literal(CORE) + literal(bytes((1 << 20) + BESIDE))), LARGE),
        (sending(literal(CORE) + Part(1, 4096, 4096, 1 << 40).encode()), LARGE),
        ("exec cat /dev/zero", "what the lab sends is damaged: nothing is written"),
        (sending(b"\x7fELF"), CUT),
        (sending(Part(0, 0, 0, 64).encode() + CORE[:32]), CUT),
        ("exec sleep 1000", SILENT),
        (f"{sending(literal(CORE))}; exec sleep 1000", SILENT),
        ("exec >&-; exec sleep 1000", CUT),
        ("false", CUT),
    ],
    ids=[
        "text", "library", "short", "large", "larger", "no zstd", "no header", "cut", "silent",
        "silent at the end", "endless", "absent",
    ],
)  # fmt: skip
def test_what_a_lab_may_send_is_bounded(
    command: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(core_files, "reading", lambda _: ["sh", "-c", command])
    monkeypatch.setattr(core_files, "_SILENT_SECONDS", 0.2)
    monkeypatch.setattr(core_files, "_END_SECONDS", 0.2)
    files().take(str(tmp_path / "fifo"), "core")
    assert capsys.readouterr().err.endswith(f"{said}\n")
    assert os.listdir(tmp_path) == []


def test_a_file_of_all_of_the_guests_ram_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = CORE + bytes(1 << 20)
    (tmp_path / "fifo").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(core_files, "reading", lambda _: ["sh", "-c", sending(literal(data))])
    files().take(str(tmp_path / "fifo"), "core")
    assert capsys.readouterr().err == ""
    assert not (tmp_path / "fifo").exists()
    assert (tmp_path / "core").read_bytes() == data


def test_a_name_that_is_no_text_is_no_core_file() -> None:
    assert HANDED_OUT.fullmatch(b"gdbstub: core file /tmp/x name\n")
    assert not HANDED_OUT.fullmatch(b"gdbstub: core file /\xff name\n")
