"""Selection of the lab for a test: the one of the run, or a second one of other hardware.

It boots none; ``tests/conftest.py`` does.
"""

from typing import Final

import pytest

from gdbstub.lab.qemu import Options
from tests.contract.backends import NATIVE_KVM

#: A small board's kind: a host kernel outside EL2 (nVHE), no SVE, PAuth or PAN, a GICv2.
OTHER: Final = Options(cpu="cortex-a57", gic=2)

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
    group.addoption("--long", action="store_true", help="make the tests that can take longer do so")


def chosen(config: pytest.Config) -> Options:
    """The hardware of the run's lab."""
    option = config.getoption
    return Options(option("--lab-cpu"), gic=option("--lab-gic"), suite=option("--lab-kernel"))


def elsewhere(item: pytest.Item) -> Options | None:
    """The lab that pytest must send *item* to; None: it runs right here."""
    marked = item.get_closest_marker
    if not marked("own_kvm") or item.config.pluginmanager.has_plugin(_INSIDE):
        return None
    if marked("other_hardware"):
        return OTHER
    return None if NATIVE_KVM else chosen(item.config)
