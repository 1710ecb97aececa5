"""Other pytests for whole stubs, each in a lab of its own, since a lab has one core only.

The modules of whole stubs are shared out while they are tested: this process takes the first that
is left, the other ones the last.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final

import pytest

from gdbstub.lab.host import OWN, VARIABLE
from tests import hardware, reports

ROOT: Final = Path(__file__).parents[1]
#: Longest wait for a module that another process has taken: ten times what is usual.
MODULE_SECONDS: Final = 1200


class Worker:
    """Another pytest, with a lab of its own, which runs the tests that it is given."""

    def __init__(self, config: pytest.Config, modules: Sequence[Path]) -> None:
        """Start it, in the environment of now: a test may change that later."""
        self._config = config
        #: True when it has ended by itself: it takes no more tests.
        self.ended = False
        environment = {**os.environ, VARIABLE: OWN}
        environment.pop("PYTEST_ADDOPTS", None)
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        argv += ["-p", "tests.reports", "-p", "tests.beside_inner"]
        argv += [*hardware.arguments(config), *map(str, modules)]
        pipe, both = subprocess.PIPE, subprocess.STDOUT
        self._process = subprocess.Popen(
            argv, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=both,
            text=True, errors="replace",
        )  # fmt: skip

    def run(self, nodeids: Sequence[str]) -> reports.Reports:
        """Have it run tests of one module; return its reports."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # what it said at its end is read next
            print(json.dumps(nodeids), file=self._process.stdin, flush=True)
        found, more = reports.read(self._config, self._process.stdout, nodeids)
        self.ended = not more
        return found

    def finish(self) -> None:
        """Wait for its end: there are no more tests."""
        with suppress(BrokenPipeError):
            self._process.communicate()

    def end(self) -> None:
        """Have it end, whatever it runs."""
        self._process.terminate()


class Beside:
    """Modules of tests, each run by this process or by another one.

    Args:
        tests: tests by module, in the order of the run.
    """

    def __init__(self, tests: Mapping[Path, Sequence[pytest.Item]]) -> None:
        self._left = dict(tests)
        self._taken: dict[Path, Future[reports.Reports]] = {}
        self._lock = Lock()

    def reports_on(self, item: pytest.Item) -> reports.Reports | None:
        """Return another process's reports on the module of *item*; None: it is run here."""
        with self._lock:
            self._left.pop(item.path, None)
            taken = self._taken.get(item.path)
        return None if taken is None else taken.result()

    def run(self, worker: Worker) -> None:
        """Have *worker* run modules until none is left, or it has ended."""
        while not worker.ended and (taken := self._take()):
            tests, future = taken
            try:
                future.set_result(worker.run([each.nodeid for each in tests]))
            except BaseException as error:  # for who waits
                future.set_exception(error)
                raise
        worker.finish()

    def end(self) -> None:
        """Have no more modules run."""
        with self._lock:
            self._left.clear()

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
