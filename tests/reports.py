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


def read(
    config: pytest.Config, lines: Iterable[str], nodeids: Iterable[str]
) -> tuple[Reports, bool]:
    """Return every report in *lines* by node id, and True if others may follow.

    Where the reports end before their time, that is a failure of each of *nodeids* that is left.
    """
    reports: Reports = defaultdict(list)
    said: list[str] = []
    more = False
    for line in lines:
        if line.startswith(_MARK):
            data = json.loads(line.removeprefix(_MARK))
            report = config.hook.pytest_report_from_serializable(config=config, data=data)
            reports[report.nodeid].append(report)
        elif line == _END:
            more = True
            break
        elif line.strip(".\n"):  # of a test that passes there
            said.append(line)
    why = f"it was being run when its pytest ended, which said:\n{''.join(said[-200:])}"
    for nodeid in nodeids:
        if not any(report.when == "teardown" for report in reports[nodeid]):
            reports[nodeid].append(_failure(nodeid, why))
            why = "it was not run: its pytest ended before"
    return reports, more


def _failure(nodeid: str, why: str) -> pytest.TestReport:
    place = nodeid.partition("::")[0], None, nodeid
    return pytest.TestReport(nodeid, place, {}, "failed", why, "call")


def show(item: pytest.Item, nextitem: pytest.Item | None, reports: Reports) -> None:
    """Report *item*, which ran elsewhere, as if it had run here."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in reports[item.nodeid]:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    # What the tests before have set up here, for those beside them, is not for the next one.
    item.session._setupstate.teardown_exact(nextitem)
