"""The inner side: pytest's own reports, a JSON line each, on standard output.

Loaded with ``-p tests.inlab.reporter`` by the pytest that runs in the lab.
"""

import json

import pytest

MARK = "@report "


class Reporter:
    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        hook = self._config.hook
        data = hook.pytest_report_to_serializable(config=self._config, report=report)
        print(f"\n{MARK}{json.dumps(data)}", flush=True)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Reporter(config), "inlab-reporter")
