"""Sharing of modules between this pytest and others: each is run once, by one of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from tests import reports
from tests.beside import Beside, Worker


class Item:
    """A test, as far as it is looked at."""

    def __init__(self, module: str) -> None:
        self.path = Path(module)
        self.nodeid = f"{module}::test"
        self.markers: list[str] = []

    def add_marker(self, marker: pytest.MarkDecorator) -> None:
        self.markers.append(marker.name)


class FakeWorker:
    """A worker that has a test fail to run where its module is named so."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.calls: list[str] = []

    def run(self, nodeids: Sequence[str]) -> reports.Reports:
        self.asked += nodeids
        if "broken" in nodeids[0]:
            raise RuntimeError("it has ended")
        return {nodeid: [] for nodeid in nodeids}

    def finish(self) -> None:
        self.calls.append("finish")

    def end(self) -> None:
        self.calls.append("end")


def shared(*modules: str) -> tuple[Beside, FakeWorker, list[Item]]:
    items = [Item(module) for module in modules]
    return Beside({item.path: [cast("pytest.Item", item)] for item in items}), FakeWorker(), items


def reported(beside: Beside, item: Item) -> bool:
    return beside.reports_on(cast("pytest.Item", item)) is not None


def test_what_is_begun_here_is_left_to_this_process_and_the_last_goes_first() -> None:
    beside, worker, (first, second, third) = shared("first", "second", "third")
    assert not reported(beside, first)
    beside.run(cast("Worker", worker))
    assert worker.asked == ["third::test", "second::test"]
    assert worker.calls == ["finish"]
    assert [reported(beside, each) for each in (first, second, third)] == [False, True, True]
    assert [each.markers for each in (first, second)] == [[], ["timeout"]]


def test_a_worker_that_fails_takes_no_more() -> None:
    beside, worker, (first, broken) = shared("first", "broken")
    beside.run(cast("Worker", worker))
    assert worker.asked == ["broken::test"]
    assert worker.calls == ["end", "finish"]
    assert not reported(beside, first)
    with pytest.raises(RuntimeError, match="it has ended"):
        reported(beside, broken)


def test_at_the_end_nothing_more_is_taken() -> None:
    beside, worker, (first,) = shared("first")
    beside.end()
    beside.run(cast("Worker", worker))
    assert (worker.asked, worker.calls) == ([], ["finish"])
    assert not reported(beside, first)
