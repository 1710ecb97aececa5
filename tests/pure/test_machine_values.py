"""Exits of a machine as values: two of different classes are never equal."""

from gdbstub.machine import RunFailure, SystemEvent, SystemEventKind


def test_exits_of_different_kinds_are_different() -> None:
    event, failure = SystemEvent(0, SystemEventKind.RESET), RunFailure(0, "why")
    assert event == SystemEvent(0, SystemEventKind.RESET)
    assert event != SystemEvent(1, SystemEventKind.RESET)
    assert failure == RunFailure(0, "why")
    assert failure != RunFailure(0, "else")
    other: object = RunFailure(0, SystemEventKind.RESET)  # type: ignore[arg-type]
    assert event != other
    assert len({event, other}) == 2
