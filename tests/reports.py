"""Reports of tests on their way from the pytest that ran them: a JSON line each.

The one that ran them loads this file with ``-p tests.reports``.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Final, TypeAlias

import pytest

_MARK: Final = "@report "
_END: Final = "@end\n"

Reports: TypeAlias = dict[str, list[pytest.TestReport]]


class Reporter:
    """Plugin that prints each report."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        hook = self._config.hook
        data = hook.pytest_report_to_serializable(config=self._config, report=report)
        print(f"\n{_MARK}{json.dumps(data)}", flush=True)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Reporter(config), "reporter")


def say_end() -> None:
    """Print that all reports of these tests have been printed; others may follow."""
    print(f"\n{_END}", end="", flush=True)


def read(config: pytest.Config, lines: Iterable[str], nodeids: Iterable[str]) -> Reports:
    """Return every report in *lines*, up to the end of these tests, by node id.

    Raises:
        RuntimeError: there is none on one of *nodeids*.
    """
    reports: Reports = defaultdict(list)
    said: list[str] = []
    for line in lines:
        if line.startswith(_MARK):
            data = json.loads(line.removeprefix(_MARK))
            report = config.hook.pytest_report_from_serializable(config=config, data=data)
            reports[report.nodeid].append(report)
        elif line == _END:
            break
        else:
            said.append(line)
    if missing := [nodeid for nodeid in nodeids if nodeid not in reports]:
        tail = "".join(said[-200:])
        raise RuntimeError(f"another pytest did not report on {missing[:3]}; it said:\n{tail}")
    return reports


def show(item: pytest.Item, nextitem: pytest.Item | None, reports: Reports) -> None:
    """Report *item*, which ran elsewhere, as if it had run here."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in reports[item.nodeid]:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    # What the tests before have set up here, for those beside them, is not for the next one.
    item.session._setupstate.teardown_exact(nextitem)
