"""The progress of the collection of tests."""

import pytest

from tests.collecting import Collecting


def report(items: list[pytest.Item | pytest.Collector]) -> pytest.CollectReport:
    return pytest.CollectReport("module", "passed", None, items)


def test_progress_is_told_when_it_is_due(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    for collecting in (Collecting(0), Collecting(1e9)):
        collecting.pytest_collectreport(report([request.node] * 3))
        collecting.pytest_collectreport(report([request.node] * 2))
    said = [f"gdbstub: collecting the tests: {tests} so far\n" for tests in (3, 5)]
    assert capsys.readouterr().err == "".join(said)
