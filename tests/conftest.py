"""The rings, and the one lab of a whole run.

Tests that need KVM in their own process run here where there is an arm64 /dev/kvm, else in the
lab: one pytest there runs them all, and their reports appear here under their own names.
"""

import signal
from contextlib import ExitStack
from typing import Final

import pytest

from gdbstub.lab.host import VARIABLE, Lab
from tests.contract.backends import NATIVE_KVM
from tests.inlab.runner import run_in_lab

_STACK: Final = pytest.StashKey[ExitStack]()
_LAB: Final = pytest.StashKey[Lab]()
_FIGURES: Final = pytest.StashKey[list[str]]()
_REMOTE: Final = pytest.StashKey[dict[str, list[pytest.TestReport]]]()


def pytest_configure(config: pytest.Config) -> None:
    # A run in the background may have been started deaf to these, and what we start would be too.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    config.addinivalue_line("markers", "own_kvm: opens /dev/kvm in its own process")
    config.stash[_STACK] = ExitStack()


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_STACK].close()


def shared_lab(config: pytest.Config) -> Lab:
    """The lab of this run, booted when it is first asked for."""
    if _LAB not in config.stash:
        stack = config.stash[_STACK]
        host = config.stash[_LAB] = stack.enter_context(Lab.open())
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv(VARIABLE, str(host.directory))
    return config.stash[_LAB]


@pytest.fixture(scope="session")
def lab(pytestconfig: pytest.Config) -> Lab:
    """A running lab host; what a test starts joins it by its environment."""
    return shared_lab(pytestconfig)


def figures(config: pytest.Config) -> list[str]:
    """What was measured by the way, for the end of the run."""
    return config.stash.setdefault(_FIGURES, [])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if lines := figures(config):
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.line(line)


def _elsewhere(item: pytest.Item) -> bool:
    return not NATIVE_KVM and item.get_closest_marker("own_kvm") is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs in the lab comes last: no module's fixtures may wait for it here."""
    items.sort(key=_elsewhere)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Report a test that ran in the lab."""
    if not _elsewhere(item):
        return None
    config = item.config
    if _REMOTE not in config.stash:
        nodeids = [each.nodeid for each in item.session.items if _elsewhere(each)]
        capture = config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            config.stash[_REMOTE] = run_in_lab(shared_lab(config), config, nodeids)
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in config.stash[_REMOTE][item.nodeid]:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
