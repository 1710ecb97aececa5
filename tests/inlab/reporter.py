"""The inner side: pytest's own reports, a JSON line each, on standard output.

Loaded with ``-p tests.inlab.reporter`` by the pytest that runs in the lab.
"""

import faulthandler
import json
import os
from collections.abc import Iterator

import pytest

MARK = "@report "
#: Longest time of one test, in seconds; then all ends, with the stacks of the threads.
LONGEST = 300.0


class Reporter:
    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._stderr = os.dup(2)  # what it is before pytest captures it

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self) -> Iterator[None]:
        faulthandler.dump_traceback_later(LONGEST, exit=True, file=self._stderr)
        yield
        faulthandler.cancel_dump_traceback_later()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        hook = self._config.hook
        data = hook.pytest_report_to_serializable(config=self._config, report=report)
        print(f"\n{MARK}{json.dumps(data)}", flush=True)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Reporter(config), "inlab-reporter")
