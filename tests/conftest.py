"""The rings, and the one lab of a whole run.

Tests that need KVM in their own process run here where there is an arm64 /dev/kvm, else in the
lab: one pytest there runs them all, beside the tests that need no lab, and their reports appear
here under their own names.
"""

import logging
import os
import signal
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from gdbstub.lab.host import VARIABLE, Lab
from gdbstub.lab.opening import open_lab, start_lab
from gdbstub.lab.qemu import Options
from gdbstub.states import IllegalTransition
from tests import hardware, programs
from tests.hardware import chosen, elsewhere
from tests.inlab.runner import run_in_lab

_STACK: Final = pytest.StashKey[ExitStack]()
_LABS: Final = pytest.StashKey[dict[Options, Lab]]()
_FIGURES: Final = pytest.StashKey[list[str]]()
_REMOTE: Final = pytest.StashKey[dict[Options, Future[dict[str, list[pytest.TestReport]]]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    hardware.add_options(parser)
    programs.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    # A run in the background may have been started deaf to these, and what we start would be too.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    for marker in (
        "own_kvm: opens /dev/kvm in its own process",
        "other_hardware: runs in a second lab, of another kind",
        "needs: runs on machines with these capabilities (tests/contract)",
        "lacks: runs on machines without these capabilities (tests/contract)",
        "sve: needs a host with SVE, which cortex-a57 is not",
    ):
        config.addinivalue_line("markers", marker)
    config.stash[_STACK] = ExitStack()
    programs.put_on_path(config, config.stash[_STACK])
    config.stash[hardware.GIVEN] = VARIABLE in os.environ
    config.stash[_LABS] = {}
    config.stash[_REMOTE] = {}


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_STACK].close()


def shared_lab(config: pytest.Config, options: Options | None = None) -> Lab:
    """The lab of this run, or the one of *options*, started when it is first asked for.

    A lab that is there already (``GDBSTUB_LAB``) serves as the one of the run.
    """
    usual = chosen(config)
    options, labs, stack = options or usual, config.stash[_LABS], config.stash[_STACK]
    if options not in labs:
        opened = open_lab(options) if options == usual else start_lab(options)
        labs[options] = stack.enter_context(opened)
        if options == usual:
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setenv(VARIABLE, str(labs[options].directory))
    return labs[options]


def lab_for_stubs(config: pytest.Config) -> Lab:
    """The lab of this run, when no more than one other is busy: there may be two cores."""
    while len(busy := [each for each in config.stash[_REMOTE].values() if not each.done()]) > 1:
        wait(busy, return_when=FIRST_COMPLETED)
    return shared_lab(config)


@pytest.fixture(scope="session")
def lab(pytestconfig: pytest.Config) -> Lab:
    """A running lab host; what a test starts joins it by its environment."""
    return shared_lab(pytestconfig)


@pytest.fixture(scope="session")
def long(pytestconfig: pytest.Config) -> bool:
    """True if tests with a long variant run it (``--long``)."""
    return bool(pytestconfig.getoption("--long"))


@pytest.fixture(autouse=True)
def illegal_transitions() -> Iterator[list[BaseException]]:
    """Fail a test in which a state machine meets an illegal transition, even if it is logged only.

    The list has those that were logged; a test that provokes one clears it.
    """
    met: list[BaseException] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info and isinstance(record.exc_info[1], IllegalTransition):
                met.append(record.exc_info[1])

    handler = Handler()
    logging.getLogger("gdbstub").addHandler(handler)
    try:
        yield met
    finally:
        logging.getLogger("gdbstub").removeHandler(handler)
    assert not met


def figures(config: pytest.Config) -> list[str]:
    """Measured figures, printed at the end of the run."""
    return config.stash.setdefault(_FIGURES, [])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if lines := figures(config):
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.line(line)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests: those without a lab first, while one is busy; reports from a lab last.

    No module's fixtures may wait for those here. Whole stubs come after the reports from their own
    lab: it has one core.
    """
    whole_stubs = Path(__file__).parent / "kvm"

    def turn(item: pytest.Item) -> int:
        place = elsewhere(item)
        if place is None:
            return 2 if whole_stubs in item.path.parents else 0
        return 1 if place == chosen(item.config) else 3

    items.sort(key=turn)


#: Longest wait for all reports of a lab: ten times what is usual.
LAB_SECONDS = 3600


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Have the labs begin with what is theirs."""
    config, tests = session.config, dict[Options, list[str]]()
    for item in session.items:
        if (options := elsewhere(item)) is not None:
            # Its own limit is kept there; here the first one waits for all of its lab.
            item.add_marker(pytest.mark.timeout(LAB_SECONDS))
            tests.setdefault(options, []).append(item.nodeid)
    if not tests or session.testsfailed or config.option.collectonly:
        return
    # Left last, when the labs are gone and nothing there goes on.
    beside = config.stash[_STACK].enter_context(ThreadPoolExecutor())
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        labs = dict(zip(tests, beside.map(partial(shared_lab, config), tests), strict=True))
    for options, nodeids in tests.items():
        task = beside.submit(run_in_lab, labs[options], config, nodeids)
        config.stash[_REMOTE][options] = task


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Report a test that ran in a lab."""
    options = elsewhere(item)
    if options is None:
        return None
    reports = item.config.stash[_REMOTE][options].result()
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in reports[item.nodeid]:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    # What the tests before have set up here, for those beside them, is not for the next one.
    item.session._setupstate.teardown_exact(nextitem)
    return True
