"""Logs that nobody reads: they keep neither the guest nor its client waiting."""

import os
import pty
import re
import select
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gdbstub.cli.logs import Messages
from gdbstub.cli.serving import serve
from gdbstub.streams import KEPT, PatientWriter
from tests.bounds import HANGS

Ends = tuple[int, int]


def a_pipe() -> Ends:
    return os.pipe()


def a_socket() -> Ends:
    reader, writer = socket.socketpair()
    return reader.detach(), writer.detach()


def a_terminal() -> Ends:
    reader, writer = pty.openpty()
    mode = termios.tcgetattr(writer)
    mode[1] &= ~termios.OPOST  # as they are: no carriage return
    termios.tcsetattr(writer, termios.TCSANOW, mode)
    return reader, writer


@pytest.fixture(params=[a_pipe, a_socket, a_terminal])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    """Give the reader's end of a stream, and the writer's."""
    make: Callable[[], Ends] = request.param
    both = make()
    yield both
    for end in both:
        os.close(end)


def missing(lines: int) -> str:
    return f"missing {lines}\n"


def read_until(fd: int, end: re.Pattern[bytes]) -> bytes:
    """Read until *end* is in the last 100 bytes."""
    data = bytearray()
    while not end.search(data[-100:]):
        data += os.read(fd, 1 << 16)
    return bytes(data)


LINE = b"x" * 63 + b"\n"
MISSING = re.compile(rb"missing \d+\n$")


@pytest.mark.timeout(60)
def test_what_nobody_reads_is_bounded_and_counted(ends: Ends) -> None:
    reader, fd = ends
    writer = PatientWriter(fd, missing, "log")
    written = 4 * KEPT // len(LINE)
    for _ in range(written):
        assert writer.write(LINE) == len(LINE)
    assert os.get_blocking(fd)  # others have it, too
    assert writer.finish(0) >= 3 * KEPT // len(LINE)
    *lines, last = read_until(reader, MISSING).splitlines(keepends=True)
    assert set(lines) == {LINE}
    assert last == missing(written - len(lines)).encode()
    assert KEPT <= len(lines) * len(LINE) < 2 * KEPT
    writer.write(LINE)
    assert read_until(reader, re.compile(b"\n$")) == LINE
    writer.close()


@pytest.mark.timeout(60)
def test_nothing_is_lost_where_somebody_reads_in_the_end(ends: Ends) -> None:
    reader, fd = ends
    writer = PatientWriter(fd, missing, "log")
    lines = [b"%063d\n" % number for number in range(KEPT // len(LINE))]
    for line in lines:
        writer.write(line)
    assert read_until(reader, re.compile(lines[-1])) == b"".join(lines)
    assert writer.finish(20) == 0
    writer.close()


def test_a_reader_who_is_gone_is_an_error_once_nothing_else() -> None:
    reader, fd = os.pipe()
    os.close(reader)
    writer = PatientWriter(fd, missing, "log")
    for _ in range(2):
        with pytest.raises(BrokenPipeError):
            writer.write(LINE)
    assert writer.finish(0) == 0
    writer.close()
    os.close(fd)


@pytest.mark.timeout(60)
def test_a_reader_who_goes_meanwhile_ends_the_wait(ends: Ends) -> None:
    reader, fd = ends
    writer = PatientWriter(fd, missing, "log")
    writer.write(bytes(KEPT))
    waiting = [each for each in threading.enumerate() if each.name == "log"]
    assert len(waiting) == 1
    os.dup2(os.open(os.devnull, os.O_RDONLY), reader)
    waiting[0].join()
    assert writer.finish(0) == 0
    writer.close()


def test_a_file_is_written_where_its_descriptor_is(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+b", buffering=0) as file:
        file.write(b"before\n")
        writer = PatientWriter(file.fileno(), missing, "log")
        writer.write(b"after\n")
        writer.close()
    assert (tmp_path / "log").read_bytes() == b"before\nafter\n"


@pytest.mark.timeout(60)
def test_a_record_in_a_fifo_waits_for_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "_RECORD_SECONDS", 0.01)
    os.mkfifo(tmp_path / "fifo")
    with serve.recording(str(tmp_path / "fifo")) as recorder:
        assert recorder is not None
        for _ in range(4 * KEPT // len(LINE)):
            recorder.sent("x" * 60)
    assert re.fullmatch(
        r"--record \S+/fifo: nobody has read its last \d+ lines", caplog.messages[-1]
    )


@pytest.mark.timeout(60)
def test_a_record_that_is_read_later_says_how_much_is_missing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with serve.recording(str(tmp_path / "fifo")) as recorder:
        assert recorder is not None
        for _ in range(4 * KEPT // len(LINE)):
            recorder.sent("x" * 60)
        reader = os.open(tmp_path / "fifo", os.O_RDONLY)
        last = read_until(reader, re.compile(rb"missing here\n$")).splitlines()[-1]
        assert re.fullmatch(rb"# \d+ lines are missing here", last)
        recorder.note("again")
    assert os.read(reader, 100) == b"# again\n"
    assert os.read(reader, 100) == b""
    os.close(reader)


@pytest.mark.timeout(60)
def test_messages_that_nobody_reads_keep_no_loop_waiting(ends: Ends) -> None:
    reader, fd = ends
    with open(fd, "w", closefd=False) as stream:
        messages = Messages(stream)
        for _ in range(4 * KEPT // len(LINE)):
            print("x" * 63, file=messages)
        last = read_until(reader, re.compile(rb"standard error\n$")).splitlines()[-1]
        assert re.fullmatch(
            rb"gdbstub: \d+ lines are missing here: nobody read standard error", last
        )
        messages.close()


#: A program with a finaliser that logs while its thread is in a write, as asyncio's tasks do.
FINALISER = """
import gc, os
from gdbstub.streams import PatientWriter
reader, fd = os.pipe()
writer = PatientWriter(fd, lambda lines: "x", "log")
class Task:
    def __init__(self): self.me = self
    def __del__(self): writer.write(b"pending\\n")
class Raw:
    def __init__(self, raw): self.raw = raw
    def write(self, data):
        gc.collect()
        return self.raw.write(data)
gc.disable()
writer._raw = Raw(writer._raw)
Task()
writer.write(b"line\\n")
print(os.read(reader, 100), flush=True)
os._exit(0)
"""


def test_a_finaliser_that_logs_does_not_wait_for_its_own_thread() -> None:
    done = subprocess.run([sys.executable, "-c", FINALISER], capture_output=True, timeout=HANGS)
    assert done.stdout == b"b'line\\npending\\n'\n"  # each once, in this order


def test_what_comes_as_the_thread_ends_is_written() -> None:
    reader, fd = os.pipe()
    writer = PatientWriter(fd, lambda lines: "", "log")
    at_once, main, late = writer._at_once, threading.get_ident(), [b"y" * 100_000]

    def with_another_write() -> bool:
        done = at_once()
        if done and late and threading.get_ident() != main:
            writer.write(late.pop())  # as the main thread may, which logs just now
        return done

    writer._at_once = with_another_write  # type: ignore[method-assign]
    writer.write(b"x" * 100_000)
    got = 0
    while got < 200_000:
        assert select.select([reader], [], [], 20)[0], f"{got} bytes were written"
        got += len(os.read(reader, 1 << 16))
    assert got == 200_000
    del writer._at_once  # a cycle, by which it would stay open
    writer.close()
    os.close(reader)
    os.close(fd)
