"""The implementations of ``Machine`` that the contract holds for: one entry each.

A factory is named, not imported: the fake's needs packages that the lab does not have, and
KVM's a kernel that most other places do not have.
"""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Final, Protocol

import pytest

from gdbstub.machine import Machine
from tests.fakes.device import Device


class Factory(Protocol):
    """Makes a machine that is halted at its first instruction.

    *program* lies at 0x4000_0000, where RAM begins. vCPU 0 starts there at EL1h with the MMU
    off and D, A, I and F masked; the others are powered off. *device* answers where no RAM is.
    """

    def __call__(
        self,
        program: bytes,
        *,
        vcpus: int = 1,
        memory: int = 2 << 20,
        device: Device | None = None,
    ) -> Machine: ...


@dataclass(frozen=True, slots=True)
class Backend:
    """``factory`` is ``module:function``; ``usable`` says whether this is a place for it.

    ``marks`` say where its tests run: see ``tests/hardware.py``. ``offers`` are the fields of
    ``Capabilities`` that its machines have, whatever the host.
    """

    name: str
    factory: str
    usable: Callable[[], bool]
    marks: tuple[pytest.MarkDecorator, ...] = ()
    offers: frozenset[str] = frozenset(("reset", "time", "comparison", "about", "counts", "layout"))
    #: Modules of tests that it is run with, unless those are to be long; empty: all.
    modules: frozenset[str] = frozenset()

    def runs(self, module: str, *, long: bool) -> bool:
        """True if the tests of *module* are run with it."""
        return long or not self.modules or module in self.modules

    def load(self) -> Factory:
        """Import the factory."""
        module, function = self.factory.split(":")
        factory: Factory = getattr(import_module(module), function)
        return factory

    def pend_irq(self, machine: Machine, level: bool, vcpu: int = 0) -> None:
        """Have an IRQ pend at a vCPU, or pend no more; no part of ``Machine``."""
        import_module(self.factory.split(":")[0]).pend_irq(machine, level, vcpu)

    def pend_serror(self, machine: Machine) -> None:
        """Have an SError pend at vCPU 0, once; no part of ``Machine``."""
        import_module(self.factory.split(":")[0]).pend_serror(machine)


@cache  # it is asked for each test
def _has_unicorn() -> bool:
    return find_spec("unicorn") is not None


NATIVE_KVM: Final = platform.machine() == "aarch64" and os.access("/dev/kvm", os.R_OK | os.W_OK)


_KVM: Final = "tests.contract.kvm_machine:kvm_machine"
_KVM_OFFERS: Final = frozenset(
    ("reset", "time", "comparison", "passes", "about", "counts", "layout")
)
# What a machine itself does. A step takes it ten times as long as ours: the debug core, which is
# the same for all, is tested with it in long runs only.
_FOREIGN_MODULES: Final = frozenset(
    f"test_{name}"
    for name in (
        *("capabilities", "running", "step_and_break", "stepping", "watchpoints", "exclusive"),
        *("registers", "memory", "mmio", "time", "power"),
    )
)

# Usable everywhere: where this machine has none, these tests run in the lab.
KVM: Final = Backend("kvm", _KVM, lambda: True, (pytest.mark.own_kvm,), _KVM_OFFERS)
BACKENDS: Final = (
    Backend("fake", "tests.fakes.machine:fake_machine", _has_unicorn),
    Backend("minimal", "tests.fakes.minimal:minimal_machine", _has_unicorn, offers=frozenset()),
    KVM,
    Backend(
        "foreign",
        "tests.contract.foreign_machine:foreign_machine",
        lambda: True,
        (pytest.mark.own_kvm,),
        offers=frozenset(("time", "about", "counts", "layout")),
        modules=_FOREIGN_MODULES,
    ),
    Backend(
        "cortex-a57",
        _KVM,
        lambda: True,
        (pytest.mark.own_kvm, pytest.mark.other_hardware),
        _KVM_OFFERS,
    ),
)
