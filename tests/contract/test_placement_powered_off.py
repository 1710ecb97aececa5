"""Requests beside a vCPU that is powered off: what its registers led to may be others' by now."""

import pytest

from gdbstub.aarch64.registers import SP_EL1
from gdbstub.debug.placement import Preference, Service
from gdbstub.machine import Power
from gdbstub.swbp import BRK
from tests.contract.backends import Factory
from tests.contract.spaces import KERNEL, KERNEL_GVA, NOP, ROUND, TEXT, USER_GVA, Spaces
from tests.contract.test_placement import NG, PLACE, READ_ONLY
from tests.tables import AF

PROCESS = USER_GVA + 8


@pytest.fixture
def spaces(machine_factory: Factory) -> Spaces:
    """Two vCPUs, of which the second has powered itself off in process *a*, or in its kernel."""
    made = Spaces(machine_factory(ROUND.image, vcpus=2), Preference.SOFTWARE)
    made.enter(USER_GVA, made.b)
    made.enter(USER_GVA, made.a, vcpu=1)
    assert made.machine.vcpus[1].power is Power.OFF
    return made


def test_no_brk_is_in_a_process_of_which_only_the_registers_are_left(spaces: Spaces) -> None:
    spaces.insert(PROCESS, thread=2)
    spaces.step()
    assert spaces.word(TEXT + 8) == NOP
    assert spaces.debugger.breakpoints.served(PROCESS).service is Service.COMPARATOR
    spaces.enter(USER_GVA, spaces.a)
    spaces.stops_at(PROCESS)
    assert spaces.word(TEXT + 8) == BRK


def test_tables_of_an_earlier_kernel_lead_nowhere(spaces: Spaces) -> None:
    spaces.enter(KERNEL_GVA, spaces.a, el=1, vcpu=1)
    spaces.enter(KERNEL_GVA, spaces.a, el=1)
    spaces.insert(PLACE)
    spaces.step()
    assert spaces.word(KERNEL + 8) == BRK
    spaces.kernel = spaces._tables(4, AF | NG | READ_ONLY, {KERNEL_GVA: TEXT})
    spaces.machine.vcpus[0].set(SP_EL1, KERNEL_GVA + 0x800)
    spaces.enter(KERNEL_GVA, spaces.b, el=1)  # with an ASID that no TLB knows
    spaces.machine.write_memory(KERNEL, bytes(4096))
    spaces.step()
    assert spaces.machine.read_memory(KERNEL, 4096) == bytes(4096)
    assert spaces.word(TEXT + 8) == BRK
    # At EL0 the kernel's addresses are looked up in the tables that were seen at EL1 last.
    spaces.enter(USER_GVA, spaces.b)
    assert spaces.debugger.read_memory(1, PLACE, 4) == NOP
    spaces.step()
    assert spaces.machine.read_memory(KERNEL, 4096) == bytes(4096)
