"""Progress of the collection of tests, where pytest shows none: without a terminal, or with -q.

Ten seconds pass before the first test, and a run in CI would be silent for as long.
"""

import sys
import time

import pytest

from gdbstub.streams import note


class Collecting:
    """Plugin that says every *seconds* how many tests have been collected."""

    def __init__(self, seconds: float = 5) -> None:
        self._seconds = seconds
        self._said = time.monotonic()
        self._tests = 0

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Count the tests of a module."""
        self._tests += sum(isinstance(each, pytest.Item) for each in report.result)
        if time.monotonic() - self._said >= self._seconds:
            self._said = time.monotonic()
            note(f"collecting the tests: {self._tests} so far")


def show_progress(config: pytest.Config) -> None:
    """Have the collection show its progress, unless pytest does."""
    if not sys.stdout.isatty() or config.get_verbosity() < 0:
        config.pluginmanager.register(Collecting())
