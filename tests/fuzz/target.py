"""Fuzz targets: functions of bytes that raise if the code under test does anything it may not.

A target knows no fuzzer. It is deterministic: the same bytes give the same result.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from gdbstub.errors import StubError

Function = Callable[[bytes], None]
Words = Callable[[], Iterable[bytes]]


class FuzzTarget(NamedTuple):
    """A name, the function, and the longest input in bytes that a fuzzer should make.

    *words* are what the code under test knows by name: no fuzzer guesses them.
    """

    name: str
    function: Function
    longest: int
    words: Words = tuple


#: Text of exceptions that an input has a target raise.
INJECTED: Final = "injected"
#: All targets, in order of registration.
TARGETS: Final[dict[str, FuzzTarget]] = {}


def fuzz_target(
    name: str, longest: int = 1024, words: Words = tuple
) -> Callable[[Function], Function]:
    """Register a function as the target *name*. Its docstring says what its oracle is."""

    def register(function: Function) -> Function:
        assert function.__doc__, name
        assert name not in TARGETS, name
        TARGETS[name] = FuzzTarget(name, function, longest, words)
        return function

    return register


@contextmanager
def only(*errors: type[StubError]) -> Iterator[None]:
    """Accept *errors*, whose text must be one line of bounded length; pass on all others."""
    try:
        yield
    except errors as error:
        check_message(str(error))


def check_message(text: str) -> None:
    """Check that *text* is a message for a user: a line, and no longer than anyone reads."""
    assert text, "an error without text"
    assert text.isprintable(), text  # no line break, and nothing that moves a terminal's cursor
    assert len(text) <= 1200, text


class _Raiser(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.failures: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1]:
            self.failures.append(record.exc_info[1])


@contextmanager
def no_logged_failure() -> Iterator[None]:
    """Raise what is logged with a traceback, but for ``INJECTED``: the code has not foreseen it."""
    handler, log = _Raiser(), logging.getLogger("gdbstub")
    before = log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = before
    for failure in handler.failures:
        if str(failure) != INJECTED:
            raise failure
