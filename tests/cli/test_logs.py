"""Logs that a guest or a client can fill."""

import logging

import pytest

from gdbstub.cli.logs import PERIOD, TIMES, OneLine, RateLimit


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limit(clock: Clock) -> RateLimit:
    return RateLimit(clock)


def record(message: str, *args: object, level: int = logging.WARNING) -> logging.LogRecord:
    return logging.LogRecord("gdbstub.server", level, __file__, 1, message, args, None)


def test_a_message_that_comes_often_is_left_out_then_counted(
    limit: RateLimit, clock: Clock
) -> None:
    passed = [limit.filter(record("turned %s away", number)) for number in range(1000)]
    assert passed == [True] * TIMES + [False] * (1000 - TIMES)
    assert limit.filter(record("another")) is True
    clock.now += PERIOD
    last = record("turned %s away", 1000)
    assert limit.filter(last)
    assert last.getMessage() == f"turned 1000 away ({1000 - TIMES} more were left out)"
    again = record("turned %s away", 1001)
    assert limit.filter(again)
    assert again.getMessage() == "turned 1001 away"


def test_a_message_with_a_percent_sign_stays_as_it_is(limit: RateLimit, clock: Clock) -> None:
    for _ in range(TIMES + 1):
        limit.filter(record("%s", "100%"))
    clock.now += PERIOD
    last = record("%s", "100%")
    assert limit.filter(last)
    assert last.getMessage() == "100% (1 more were left out)"


def test_what_was_asked_for_is_not_limited(limit: RateLimit) -> None:
    assert all(limit.filter(record("<- %s", "g", level=logging.DEBUG)) for _ in range(1000))


def test_few_messages_are_remembered(limit: RateLimit) -> None:
    for number in range(10_000):
        limit.filter(record(f"message {number}"))
    assert len(limit) <= 256


def test_a_long_message_is_cut(limit: RateLimit) -> None:
    said = record("%s", "x" * 100_000)
    assert limit.filter(said)
    assert len(said.getMessage()) < 10_000


def test_a_message_is_one_line_and_controls_no_terminal() -> None:
    shown = OneLine("gdbstub: %(message)s").format(record("of %s", "a guest\n\x1b[2J\x9b"))
    assert shown == r"gdbstub: of a guest\n\x1b[2J\x9b"
