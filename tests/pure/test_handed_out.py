"""Core files that a stub in the lab hands out, with a lab whose commands are executed here."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import pytest
import zstandard

from gdbstub.cli.in_lab import run
from gdbstub.errors import MachineError
from gdbstub.lab import core_files, host, remote_run
from gdbstub.lab.core_files import BESIDE, CoreFiles
from gdbstub.lab.port_forwards import StdioForward
from gdbstub.lab.remote_run import RunRequest
from gdbstub.linux import handed_out as handed_out_module
from gdbstub.linux import vmcore
from gdbstub.linux.core_file import CoreOutput
from gdbstub.linux.handed_out import HANDED_OUT, Part, handed_out, literal, progressing, taking
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
EMPTY = "what the lab sends has an empty part: nothing is written"
LARGE = "the lab sends more than 17 MiB, the guest's RAM and 16 MiB: nothing is written"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("command", "said"),
    [
        (sending(literal(b"import os")), NO_CORE),
        (sending(literal(CORE[:16] + b"\x03" + CORE[17:])), NO_CORE),  # a library
        (sending(literal(b"\x7f")), NO_CORE),
        (sending(literal(b"") + literal(CORE)), EMPTY),
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
        "text", "library", "short", "nothing", "large", "larger", "no zstd", "no header", "cut",
        "silent", "silent at the end", "endless", "absent",
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


class Clock:
    """A clock that goes on as its caller sleeps, and does *each_minute* then, one after another."""

    def __init__(self, each_minute: Iterator[object]) -> None:
        self.now = 0.0
        self._next = 60.0
        self._each_minute = each_minute

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += 10
        if self.now >= self._next:
            self._next += 60
            next(self._each_minute, None)


def read_all(fifo: Path) -> threading.Thread:
    """Have all read that comes from *fifo*."""
    thread = threading.Thread(target=fifo.read_bytes)
    thread.start()
    return thread


def handing_out(
    minutes: Callable[[Path], Iterator[object]], monkeypatch: pytest.MonkeyPatch, said: Path
) -> Clock:
    """Hand out a file while *minutes* does things with its FIFO, after all has been read."""
    readers: list[threading.Thread] = []

    def steps() -> Iterator[object]:
        fifo = Path(said.read_text().split()[3])
        yield from minutes(fifo)

    clock = Clock(steps())
    opened = handed_out_module._open_fifo

    def open_fifo(fifo: Path) -> int:
        readers.append(read_all(fifo))
        with monkeypatch.context() as patch:
            patch.setattr(handed_out_module, "time", time)
            return opened(fifo)

    with said.open("w") as lines, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", lines)
        patch.setattr(handed_out_module, "time", clock)
        patch.setattr(handed_out_module, "_open_fifo", open_fifo)
        try:
            with handed_out("core") as file:
                file.write(CORE)
        finally:
            readers[0].join()
    return clock


def test_a_file_is_waited_for_while_more_of_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The RAM of a large guest takes longer than any limit."""

    def minutes(fifo: Path) -> Iterator[object]:
        for minute in range(20):
            yield subprocess.run(progressing(str(fifo)), check=True)
            os.utime(fifo, (minute, minute))  # the clock of the file system may be coarse
        yield subprocess.run(taking(str(fifo)), check=True)

    clock = handing_out(minutes, monkeypatch, tmp_path / "said")
    assert clock.now > 1200


def test_a_file_of_which_nothing_more_is_written_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MachineError, match="nobody has taken the file for 600 s"):
        handing_out(lambda _: iter(()), monkeypatch, tmp_path / "said")


def test_the_command_in_the_lab_is_told_that_its_file_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Sequence[str]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(core_files, "PROGRESS_SECONDS", -1.0)
    monkeypatch.setattr(_Here, "run", lambda _self, argv, timeout: ran.append(argv))
    monkeypatch.setattr(core_files, "reading", lambda _: ["sh", "-c", sending(literal(CORE) * 2)])
    files().take("fifo", "core")
    assert ran == [progressing("fifo"), progressing("fifo"), taking("fifo")]


ENDLESS = """
import os, sys, zstandard
with zstandard.ZstdCompressor().stream_writer(sys.stdout.buffer) as writer:
    writer.write(bytes.fromhex(sys.argv[1]))
    while True:
        writer.write(bytes(1 << 20))
"""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("command", ["zeroes", "silence", "pages"])
def test_the_end_of_a_session_ends_the_copying_of_what_has_no_end(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A lab that is not ours any more sends on, though the stub in it has ended."""
    endless = literal(CORE) + Part(0, 0, 0, 1 << 59).encode()
    silent = f"{sending(literal(CORE))}; exec sleep 1000"
    pages = sending(literal(CORE) + Part(7, 4096, 0, 1 << 40).encode())
    argv = {
        "zeroes": [sys.executable, "-c", ENDLESS, endless.hex()],
        "silence": ["sh", "-c", silent],
        "pages": ["sh", "-c", f"{pages}; exec sleep 1000"],
    }[command]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(core_files, "reading", lambda _: argv)
    lab = host.Lab(tmp_path)
    monkeypatch.setattr(lab, "popen", _Here().popen)
    monkeypatch.setattr(lab, "_shared", lambda: ["sh", "-c", "exec sleep 1000"])
    monkeypatch.setattr(lab, "_kill", lambda _: None)
    stub = object.__new__(remote_run.RemoteRun)
    stub._core_files = taker = CoreFiles(lab, None, 1 << 60)
    stub._request = RunRequest([], StdioForward())
    stub._process = subprocess.Popen(["true"], stderr=subprocess.DEVNULL)
    stub._process.stderr = open(os.devnull, "rb")  # noqa: SIM115
    stub._process.wait()
    stub._messages = threading.Thread(target=taker.take, args=["fifo", "core"])
    stub._messages.start()
    while not (tmp_path / "core").exists() or not (tmp_path / "core").stat().st_size:
        assert stub._messages.is_alive()
    stub._end()
    said = "core: the session has ended before the file did: nothing is written\n"
    assert capsys.readouterr().err == f"gdbstub: {tmp_path}/{said}"
    assert os.listdir(tmp_path) == []
    taker.take("fifo", "core")  # nor is another one begun
    assert capsys.readouterr().err == ""


async def test_a_session_waits_for_its_core_file_while_that_grows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Inner:
        sizes = iter([0, 0, 1, 1, 2, 2, 2])

        @property
        def core_bytes(self) -> int:
            return next(self.sizes)

    inner = Inner()
    monkeypatch.setattr(run, "_CORE_SECONDS", 0.0)
    await run._while_written(Future[None](), cast("remote_run.RemoteRun", inner))
    assert list(inner.sizes) == []


def test_a_name_that_is_no_text_is_no_core_file() -> None:
    assert HANDED_OUT.fullmatch(b"gdbstub: core file /tmp/x name\n")
    assert not HANDED_OUT.fullmatch(b"gdbstub: core file /\xff name\n")
