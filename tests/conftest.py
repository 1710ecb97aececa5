"""The rings, and the one lab of a whole run.

Tests that need KVM in their own process run here where there is an arm64 /dev/kvm, else in the
lab: one pytest there runs them all, beside the tests that need no lab, and their reports appear
here under their own names. Tests of whole stubs are shared out with a second pytest (``beside``).
"""

import logging
import os
import signal
from collections.abc import Iterator, Sequence
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
from tests import collecting, hardware, programs, reports
from tests.beside import Beside
from tests.contract.backends import NATIVE_KVM
from tests.hardware import chosen, elsewhere
from tests.inlab.runner import run_in_lab

_STACK: Final = pytest.StashKey[ExitStack]()
_LABS: Final = pytest.StashKey[dict[Options, Lab]]()
_REMOTE: Final = pytest.StashKey[dict[Options, Future[reports.Reports]]]()
_BESIDE: Final = pytest.StashKey[Beside]()
_WHOLE_STUBS: Final = Path(__file__).parent / "kvm"


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
    collecting.show_progress(config)
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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    figures = [
        f"{name}: {line}"
        for report in terminalreporter.getreports("") + terminalreporter.getreports("passed")
        if isinstance(report, pytest.TestReport) and report.when == "teardown"
        for name, line in report.user_properties
    ]
    if figures:
        terminalreporter.section("figures")
        for line in figures:
            terminalreporter.line(line)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests: those without a lab first, while one is busy; reports from a lab last.

    No module's fixtures may wait for those here. Whole stubs come after the reports from their own
    lab: it has one core.
    """

    def turn(item: pytest.Item) -> int:
        place = elsewhere(item)
        if place is None:
            return 2 if _WHOLE_STUBS in item.path.parents else 0
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

    alone = NATIVE_KVM or config.stash[hardware.GIVEN] or config.getoption("--stubs-at-once") == 1
    if whole_stubs := {} if alone else _shared_out(session.items):
        # Begun now: a test may change the environment that a lab is started by.
        with capture.global_and_fixture_disabled():
            lab = config.stash[_STACK].enter_context(start_lab(chosen(config)))
        other = Beside(config, whole_stubs, lab)
        config.stash[_BESIDE] = other
        config.stash[_STACK].callback(other.end)
        beside.submit(other.run, list(config.stash[_REMOTE].values()))


def _shared_out(items: Sequence[pytest.Item]) -> dict[Path, list[pytest.Item]]:
    """Tests of whole stubs by module, but for modules that use the lab of other hardware."""
    stubs = [item for item in items if _WHOLE_STUBS in item.path.parents]
    other = {item.path for item in stubs if item.get_closest_marker("other_hardware")}
    modules: dict[Path, list[pytest.Item]] = {}
    for item in stubs:
        if item.path not in other:
            modules.setdefault(item.path, []).append(item)
    return modules


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Report a test that ran elsewhere."""
    config = item.config
    if (options := elsewhere(item)) is not None:
        found: reports.Reports | None = config.stash[_REMOTE][options].result()
    elif (other := config.stash.get(_BESIDE, None)) is not None:
        found = other.reports_on(item)
    else:
        found = None
    if found is None:
        return None
    reports.show(item, nextitem, found)
    return True
