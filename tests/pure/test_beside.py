"""Sharing of modules between this pytest and others: each is run once, by one of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

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
    """A worker that ends at a module that is named so."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.calls: list[str] = []
        self.ended = False

    def run(self, nodeids: Sequence[str]) -> reports.Reports:
        self.asked += nodeids
        self.ended = "broken" in nodeids[0]
        return {nodeid: [] for nodeid in nodeids}

    def finish(self) -> None:
        self.calls.append("finish")


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


def test_a_worker_that_has_ended_takes_no_more() -> None:
    beside, worker, (first, broken) = shared("first", "broken")
    beside.run(cast("Worker", worker))
    assert worker.asked == ["broken::test"]
    assert worker.calls == ["finish"]
    assert [reported(beside, each) for each in (first, broken)] == [False, True]


def test_at_the_end_nothing_more_is_taken() -> None:
    beside, worker, (first,) = shared("first")
    beside.end()
    beside.run(cast("Worker", worker))
    assert (worker.asked, worker.calls) == ([], ["finish"])
    assert not reported(beside, first)


def test_reports_that_end_before_their_time_are_failures(pytestconfig: pytest.Config) -> None:
    def line(nodeid: str, when: Literal["setup", "call", "teardown"]) -> str:
        report = pytest.TestReport(nodeid, ("module", 1, "test"), {}, "passed", None, when)
        hook = pytestconfig.hook
        data = hook.pytest_report_to_serializable(config=pytestconfig, report=report)
        return f"@report {json.dumps(data)}\n"

    told = [line("a", "setup"), line("a", "call"), line("a", "teardown"), line("b", "setup")]
    found, more = reports.read(pytestconfig, [*told, ".\n", "Timeout!\n"], ["a", "b", "c", "d"])
    assert not more
    assert [report.outcome for report in found["a"]] == ["passed"] * 3
    assert [report.outcome for report in found["b"]] == ["passed", "failed"]
    assert "Timeout!" in found["b"][-1].longreprtext
    assert "\n.\n" not in found["b"][-1].longreprtext
    for nodeid in "cd":
        (report,) = found[nodeid]
        assert (report.outcome, report.longreprtext.count("\n")) == ("failed", 0)
    found, more = reports.read(pytestconfig, iter([*told[:3], "@end\n", told[3]]), ["a"])
    assert more
    assert list(found) == ["a"]
