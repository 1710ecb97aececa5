"""The guest's output reaches its reader completely before its end, unless nothing reads."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gdbstub.errors import InputError
from gdbstub.vmm import files
from gdbstub.vmm.console import ConsoleOutput, open_output
from gdbstub.vmm.files import check_output


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_flushed_is_written(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    output = ConsoleOutput(writer)
    for turn in range(3):
        for letter in b"hello %d\n" % turn:
            output.write(bytes((letter,)))
        output.flush(20)
        os.set_blocking(reader, False)
        assert os.read(reader, 100) == b"hello %d\n" % turn
    output.close()
    output.flush(20)  # nothing is left to wait for


def test_a_reader_who_does_not_read_keeps_nobody_waiting(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    output = ConsoleOutput(writer)
    output.write(bytes(1 << 20))  # more than a pipe holds
    output.flush(0.01)
    left = 1 << 20
    while left:
        left -= len(os.read(reader, 1 << 16))
    output.close()


def test_another_program_that_has_set_the_pipe_non_blocking_costs_nothing(
    pipe: tuple[int, int],
) -> None:
    reader, writer = pipe
    os.set_blocking(writer, False)
    output = ConsoleOutput(writer)
    output.write(bytes(1 << 20))  # more than a pipe holds
    left = 1 << 20
    while left:
        left -= len(os.read(reader, 1 << 16))
    output.close()


def test_a_reader_who_is_gone_keeps_nobody_waiting() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    output = ConsoleOutput(writer)
    output.write(b"hello")
    output.flush(20)
    output.flush(20)
    output.close()
    os.close(writer)


@pytest.fixture
def fifo(tmp_path: Path) -> str:
    os.mkfifo(tmp_path / "fifo")
    return str(tmp_path / "fifo")


@pytest.mark.timeout(20)
def test_a_fifo_that_nobody_reads_is_one_line(fifo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_FIFO_SECONDS", 0.0)
    with pytest.raises(InputError, match="is a FIFO that nobody has opened to read in 0 s; ex"):
        open_output(fifo)


@pytest.mark.timeout(20)
def test_the_reader_of_a_fifo_may_come_a_little_later(
    fifo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[int] = []

    def come(_seconds: float) -> None:
        readers.append(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK))

    monkeypatch.setattr(time, "sleep", come)
    fd = open_output(fifo)
    assert os.get_blocking(fd)
    os.write(fd, b"said")
    assert os.read(readers[0], 9) == b"said"
    for each in (fd, *readers):
        os.close(each)


@pytest.mark.parametrize("option", ["--console", "--record"])
def test_a_socket_is_no_file_for_output(option: str, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "s"))
        with pytest.raises(InputError, match=f"{option} .*s: is a socket; expected a file, a"):
            check_output(str(tmp_path / "s"), option)
