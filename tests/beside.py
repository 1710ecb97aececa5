"""A second pytest for whole stubs, in a lab of its own: a lab has one core, the machine has more.

The modules of whole stubs are shared out while they are tested: this process takes the first that
is left, the other one the last.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from threading import Lock
from typing import Final

import pytest

from gdbstub.lab.host import VARIABLE, Lab
from tests import hardware, reports

ROOT: Final = Path(__file__).parents[1]
#: Longest wait for a module that the other process has taken: ten times what is usual.
MODULE_SECONDS: Final = 1200


class Beside:
    """Modules of tests, each run by this process or by the other one.

    Args:
        tests: tests by module, in the order of the run.
        lab: the other process's.
    """

    def __init__(
        self,
        config: pytest.Config,
        tests: Mapping[Path, Sequence[pytest.Item]],
        lab: Lab,
    ) -> None:
        self._config = config
        self._left = dict(tests)
        self._taken: dict[Path, Future[reports.Reports]] = {}
        self._lock = Lock()
        self._lab = lab
        # As it is now: a test may have changed it when a module is begun.
        self._environment = {**os.environ}
        self._environment.pop("PYTEST_ADDOPTS", None)
        self._process: subprocess.Popen[str] | None = None
        self._ended = False

    def reports_on(self, item: pytest.Item) -> reports.Reports | None:
        """Return the other process's reports on the module of *item*; None: it is run here."""
        with self._lock:
            self._left.pop(item.path, None)
            taken = self._taken.get(item.path)
        return None if taken is None else taken.result()

    def run(self, before: Sequence[Future[reports.Reports]]) -> None:
        """Run modules in the other process until none is left, when *before* are done."""
        wait(before)
        while taken := self._take():
            tests, future = taken
            try:
                future.set_result(self._run([each.nodeid for each in tests]))
            except Exception as error:  # told by each of these tests
                future.set_exception(error)

    def end(self) -> None:
        """Have the other process end, whatever is left."""
        with self._lock:
            self._ended = True
            self._left.clear()
            if self._process:
                self._process.terminate()

    def _take(self) -> tuple[Sequence[pytest.Item], Future[reports.Reports]] | None:
        with self._lock:
            if not self._left:
                return None
            module, tests = self._left.popitem()
            future = self._taken[module] = Future()
            for item in tests:
                # Its own limit is kept there; here the first one waits for all of its module.
                item.add_marker(pytest.mark.timeout(MODULE_SECONDS))
        return tests, future

    def _run(self, nodeids: Sequence[str]) -> reports.Reports:
        argv = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "tests.reports",
            "-p",
            "no:cacheprovider",
            "-q",
        ]
        argv += [*hardware.arguments(self._config), *nodeids]
        pipe, both = subprocess.PIPE, subprocess.STDOUT
        with self._lock:
            if self._ended:
                raise RuntimeError("this run of tests has ended")
            self._process = subprocess.Popen(
                argv, cwd=ROOT, env=self._environment | {VARIABLE: str(self._lab.directory)},
                stdin=subprocess.DEVNULL, stdout=pipe, stderr=both, text=True, errors="replace",
            )  # fmt: skip
        with self._process as process:
            assert process.stdout is not None
            return reports.read(self._config, process.stdout, nodeids)
