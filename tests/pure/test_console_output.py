"""The guest's output reaches its reader completely before its end, unless nothing reads."""

import os
from collections.abc import Iterator

import pytest

from gdbstub.vmm.console import ConsoleOutput


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
