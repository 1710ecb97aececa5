"""Fixtures, markers and hooks of the plugin.

pytest imports this module in every run, by its entry point: all else is imported when a fixture is
used. The markers mean nothing to a test without the fixture ``guest``.
"""

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from gdbstub.pytest_plugin.console import Console
    from gdbstub.pytest_plugin.gdb import Gdb
    from gdbstub.pytest_plugin.guest import Guest
    from gdbstub.pytest_plugin.host import Host

_GUEST: Final = pytest.StashKey["Guest"]()
_GDB: Final = pytest.StashKey["Gdb"]()

_MARKERS: Final = (
    "kernel(path=None, *, symbols=None, initrd=None, append=None, memory=None, scope='function'): "
    "the guest of the fixture guest (kvm-gdbstub); paths are relative to the test's file",
    "cpu(features): features of the guest's vCPUs, as of gdbstub run --cpu (kvm-gdbstub)",
    "smp(n): number of the guest's vCPUs (kvm-gdbstub)",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the settings of pytest.ini."""
    parser.addini(
        "gdbstub_gdb",
        "GDB that the fixture gdb runs (default: the first that is there of gdb-multiarch, "
        "aarch64-linux-gnu-gdb and gdb)",
        default="",
    )
    parser.addini(
        "gdbstub_timeout", "seconds that console and gdb wait at most (default: 60)", default="60"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)


@pytest.fixture(scope="session")
def gdbstub_host() -> Iterator["Host"]:
    """Host of all guests: this machine's KVM, or one lab for the whole session."""
    from gdbstub.errors import StubError
    from gdbstub.pytest_plugin.host import open_host

    try:
        host = open_host()
    except StubError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    yield host
    host.close()


@pytest.fixture
def guest_kernel(request: pytest.FixtureRequest) -> "Path | None":
    """Path of the guest's program: that of the marker ``kernel``; None is the small Linux guest.

    Override it to build a program, in any scope.
    """
    from gdbstub.errors import InputError
    from gdbstub.pytest_plugin.settings import kernel_path

    try:
        return kernel_path(request.node)
    except InputError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


@pytest.fixture
def guest(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    guest_kernel: "Path | None",
) -> Iterator["Guest"]:
    """Guest as the markers describe it: halted at its first instruction for ``gdb``, else running.

    With ``kernel(scope="module")`` or ``"session"`` the tests that describe it alike share it.
    """
    from gdbstub.errors import StubError
    from gdbstub.pytest_plugin.guest import shared
    from gdbstub.pytest_plugin.settings import read_settings

    node = request.node
    try:
        settings = read_settings(node, guest_kernel, request.config)
        # Not an argument: no lab is started for a test whose markers are wrong.
        host: Host = request.getfixturevalue("gdbstub_host")
        halted = "gdb" in request.fixturenames
        guest = shared(node, settings, host, tmp_path_factory.mktemp("guest"), halted=halted)
    except StubError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    node.stash[_GUEST] = guest
    yield guest
    del node.stash[_GUEST]


@pytest.fixture
def console(guest: "Guest") -> "Console":
    """Text of the guest's console from its start; ``expect`` waits for more."""
    return guest.console


@pytest.fixture
def gdb(request: pytest.FixtureRequest, guest: "Guest") -> Iterator["Gdb"]:
    """GDB, attached to the guest, which it halts; a shared guest then stays as the test left it."""
    from contextlib import ExitStack

    from gdbstub.errors import StubError
    from gdbstub.pytest_plugin.gdb import attach

    with ExitStack() as stack:
        try:
            gdb = stack.enter_context(attach(guest, str(request.config.getini("gdbstub_gdb"))))
        except StubError as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        request.node.stash[_GDB] = gdb
        yield gdb
        del request.node.stash[_GDB]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the guest's sections to the report of a failure."""
    report = yield
    if report.failed and report.when != "teardown" and (guest := item.stash.get(_GUEST, None)):
        from gdbstub.pytest_plugin.report import sections

        program = str(item.config.getini("gdbstub_gdb"))
        report.sections.extend(sections(guest, item.stash.get(_GDB, None), program))
    return report
