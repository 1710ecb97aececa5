"""Selection of the lab for a test: the one of the run, or a second one of other hardware.

It boots none; ``tests/conftest.py`` does.
"""

import os
from dataclasses import replace
from typing import Final

import pytest

from gdbstub.lab.qemu import Options
from tests.contract.backends import NATIVE_KVM

#: A small board's kind: a host kernel outside EL2 (nVHE), no SVE, PAuth or PAN, a GICv2.
OTHER: Final = Options(cpu="cortex-a57", gic=2)

#: True if a lab was up before the run, by GDBSTUB_LAB: it serves for all but ``OTHER``.
GIVEN: Final = pytest.StashKey[bool]()

_INSIDE: Final = "tests.inlab.reporter"


def add_options(parser: pytest.Parser) -> None:
    """Add the options that ``make matrix`` varies."""
    group = parser.getgroup("lab", "the lab that the tests run in")
    usual = Options()
    group.addoption("--lab-cpu", default=usual.cpu, metavar="MODEL", help="QEMU's CPU model")
    group.addoption("--lab-gic", default=usual.gic, type=int, choices=(2, 3), help="GIC version")
    group.addoption(
        "--lab-kernel", default=usual.suite, metavar="SUITE", help="kernel of this Debian suite"
    )
    group.addoption(
        "--lab-vhe", action="store_true", help="its kernel at EL2, also for tests of whole stubs"
    )
    group.addoption(
        "--guest-kernel",
        default="",
        metavar="SUITE",
        help="have Linux guests run the kernel of this suite",
    )
    group.addoption(
        "--stubs-at-once",
        # One more than there are cores, for each of them waits now and then.
        default=min(3, (os.cpu_count() or 1) + 1),
        type=int,
        choices=(1, 2, 3),
        help="labs for tests of whole stubs, if there are tests in other labs too",
    )
    group.addoption("--long", action="store_true", help="make the tests that can take longer do so")


def chosen(config: pytest.Config) -> Options:
    """The hardware of the run's lab, which is restored from a snapshot unless it has VHE."""
    option = config.getoption
    return Options(
        option("--lab-cpu"),
        gic=option("--lab-gic"),
        suite=option("--lab-kernel"),
        vhe=option("--lab-vhe"),
    )


def arguments(config: pytest.Config) -> list[str]:
    """Return the options for another pytest with the same hardware."""
    option = config.getoption
    valued = ("--lab-cpu", "--lab-gic", "--lab-kernel", "--guest-kernel")
    return [
        *(f"{name}={option(name)}" for name in valued),
        *(name for name in ("--lab-vhe", "--long") if option(name)),
    ]


def elsewhere(item: pytest.Item) -> Options | None:
    """The lab that pytest must send *item* to; None: it runs right here."""
    marked = item.get_closest_marker
    if not marked("own_kvm") or item.config.pluginmanager.has_plugin(_INSIDE):
        return None
    return OTHER if marked("other_hardware") else for_own_kvm(item.config)


def for_own_kvm(config: pytest.Config) -> Options | None:
    """The lab of tests that need KVM in their own process; None: they need none here."""
    if NATIVE_KVM:
        return None
    # In a lab that was booted, since only such a one can have VHE.
    usual = chosen(config)
    return usual if config.stash[GIVEN] else replace(usual, vhe=True)
