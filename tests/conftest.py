"""The rings, and the labs of a whole run.

Tests that need KVM in their own process run here where there is an arm64 /dev/kvm, else in a
lab: one pytest there runs them all, beside the tests that need no lab, and their reports appear
here under their own names. Tests of whole stubs are shared out with other pytests (``beside``).
"""

import logging
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from gdbstub.lab.host import VARIABLE, Lab
from gdbstub.lab.opening import open_lab, start_lab
from gdbstub.lab.qemu import Options
from gdbstub.states import IllegalTransition
from tests import collecting, hardware, programs, reports
from tests.beside import Beside, Worker
from tests.contract.backends import NATIVE_KVM
from tests.hardware import OTHER, chosen, elsewhere, for_own_kvm
from tests.inlab.runner import LabTests

_STACK: Final = pytest.StashKey[ExitStack]()
_LABS: Final = pytest.StashKey[dict[Options, Lab]]()
_BEGUN: Final = pytest.StashKey[dict[Options, LabTests]]()
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
        "lengthy: takes half a minute, and is begun before other tests of whole stubs",
        "sve: needs a host with SVE, which cortex-a57 is not",
    ):
        config.addinivalue_line("markers", marker)
    collecting.show_progress(config)
    config.stash[_STACK] = ExitStack()
    programs.put_on_path(config, config.stash[_STACK])
    config.stash[hardware.GIVEN] = VARIABLE in os.environ
    config.stash[_LABS] = {}
    config.stash[_BEGUN] = {}
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
    _wait_for_labs(config, 1)
    return shared_lab(config)


def _wait_for_labs(config: pytest.Config, most_busy: int) -> None:
    remote = config.stash[_REMOTE].values()
    while len(busy := [each for each in remote if not each.done()]) > most_busy:
        wait(busy, return_when=FIRST_COMPLETED)


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
    lab: it has one core. They are run from both ends, so that lengthy ones are outermost.
    """
    lengthy = list(dict.fromkeys(each.path for each in items if each.get_closest_marker("lengthy")))
    first, last = lengthy[::3], {*lengthy} - {*lengthy[::3]}

    def turn(item: pytest.Item) -> tuple[int, int]:
        place = elsewhere(item)
        if place is not None:
            return (1 if place == chosen(item.config) else 3), 0
        if _WHOLE_STUBS not in item.path.parents:
            return 0, 0
        return 2, (item.path in last) - (item.path in first)

    items.sort(key=turn)


#: Longest wait for all reports of a lab: ten times what is usual.
LAB_SECONDS = 3600


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Have the labs of a run of all tests started while these are collected."""
    config = session.config
    option, source = config.option, config.args_source
    some = option.keyword or option.markexpr or option.collectonly
    if source is pytest.Config.ArgsSource.TESTPATHS and not some:
        for options in (for_own_kvm(config), OTHER):
            if options is not None:
                _lab_tests(config, options)


def _lab_tests(config: pytest.Config, options: Options) -> LabTests:
    """Return the process for tests in the lab of *options*, which is started if it is not yet."""
    begun = config.stash[_BEGUN]
    if options not in begun:
        begun[options] = LabTests(config, options)
        config.stash[_STACK].callback(begun[options].end)
    return begun[options]


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
    stack, remote = config.stash[_STACK], config.stash[_REMOTE]
    # All of these processes are begun now: a test may change the environment.
    labs = {options: _lab_tests(config, options) for options in tests}
    alone = NATIVE_KVM or config.stash[hardware.GIVEN]
    others = 0 if alone else config.getoption("--stubs-at-once") - 1
    modules = _shared_out(session.items)
    workers = [Worker(config, list(modules)) for _ in range(others if modules else 0)]
    threads = stack.enter_context(ThreadPoolExecutor(len(labs) + len(workers)))
    for options, nodeids in tests.items():
        stack.callback(labs[options].end)
        remote[options] = threads.submit(labs[options].run, nodeids)
    config.stash[_BESIDE] = beside = Beside(modules if workers else {})
    for index, worker in enumerate(workers):
        stack.callback(worker.end)
        threads.submit(_stubs_beside, config, worker, most_busy=1 - index)
    stack.callback(beside.end)


def _stubs_beside(config: pytest.Config, worker: Worker, most_busy: int) -> None:
    _wait_for_labs(config, most_busy)
    config.stash[_BESIDE].run(worker)


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
