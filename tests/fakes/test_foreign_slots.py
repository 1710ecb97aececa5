"""The evidence that RAM is where it seems to be, by the registers of a guest with its MMU on."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from gdbstub.aarch64.registers import VBAR_EL1
from gdbstub.foreign.memory import MemorySlot
from gdbstub.foreign.slots import validate
from gdbstub.machine import Power
from tests.contract.programs import BASE
from tests.contract.spaces import KERNEL_GVA, TRAMPOLINE_GVA, USER_GVA, Spaces
from tests.fakes.machine import fake_machine

SIZE = 2 << 20
HVA = 0x10_0000
UNMAPPED = USER_GVA + 0x1_0000


@pytest.fixture
def spaces() -> Iterator[Spaces]:
    with closing(fake_machine(b"", vcpus=2, memory=SIZE)) as machine:
        for vcpu in machine.vcpus:
            vcpu.power = Power.ON
        made = Spaces(machine)
        made.enter(KERNEL_GVA, made.a, el=1)
        made.enter(USER_GVA, made.b, vcpu=1)
        yield made


def evidence(spaces: Spaces, ipa: int = BASE) -> str:
    def read(hva: int, length: int) -> bytes:
        return spaces.machine.read_memory(BASE + hva - HVA, length)

    return validate([MemorySlot(ipa, SIZE, HVA)], spaces.machine.vcpus, read)


def test_tables_lead_to_each_vcpus_code(spaces: Spaces) -> None:
    assert evidence(spaces) == "the tables of 2 vCPUs lead to the guest's code"


def test_elsewhere_they_do_not(spaces: Spaces) -> None:
    assert not evidence(spaces, BASE + 0x1000_0000)


def test_a_process_whose_page_is_still_to_come_has_vectors(spaces: Spaces) -> None:
    """A vCPU at a page that its kernel maps only when the fault comes."""
    spaces.enter(UNMAPPED, spaces.b, vcpu=1)
    spaces.machine.vcpus[1].set(VBAR_EL1, TRAMPOLINE_GVA)
    assert evidence(spaces) == "the tables of 2 vCPUs lead to the guest's code"
    spaces.machine.vcpus[1].set(VBAR_EL1, TRAMPOLINE_GVA + 0x10_0000)
    assert not evidence(spaces)
