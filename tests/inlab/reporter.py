"""The inner side: pytest's own reports on standard output, and a limit for each test.

Loaded with ``-p tests.inlab.reporter`` by the pytest that runs in the lab.
"""

import faulthandler
import os
from collections.abc import Iterator

import pytest

from tests import reports

#: Longest time of one test, in seconds; then all ends, with the stacks of the threads.
LONGEST = 300.0


class Reporter(reports.Reporter):
    def __init__(self, config: pytest.Config) -> None:
        super().__init__(config)
        self._stderr = os.dup(2)  # what it is before pytest captures it

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self) -> Iterator[None]:
        faulthandler.dump_traceback_later(LONGEST, exit=True, file=self._stderr)
        yield
        faulthandler.cancel_dump_traceback_later()


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Reporter(config), "inlab-reporter")
