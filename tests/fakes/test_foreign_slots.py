"""The evidence that RAM is where it seems to be, by the registers of a guest with its MMU on."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from gdbstub.aarch64.registers import PC, SCTLR_EL1, VBAR_EL1
from gdbstub.foreign.memory import MemorySlot
from gdbstub.foreign.process import ProcessMapping, VmmProcess
from gdbstub.foreign.slots import Read, find, validate
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


def _reading(spaces: Spaces) -> Read:
    return lambda hva, length: spaces.machine.read_memory(BASE + hva - HVA, length)


def evidence(spaces: Spaces, ipa: int = BASE) -> str:
    slot = MemorySlot(ipa, SIZE, HVA)
    return validate([slot], spaces.machine.vcpus, _reading(spaces)).evidence


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


class OneArea(VmmProcess):
    """A VMM that has mapped one area for RAM, and has a stack."""

    def __init__(self, name: str, start: int, size: int) -> None:
        self._name = name
        self._areas = [
            ProcessMapping(start, start + size, "rw-p", ""),
            ProcessMapping(1 << 40, (1 << 40) + 2 * size, "rw-p", "[stack]"),
        ]

    @property
    def name(self) -> str:
        return self._name

    def mappings(self) -> list[ProcessMapping]:
        return self._areas


@pytest.mark.parametrize("start", [0x10_0000, 0x20_0000, 0x20_1000, 0x3F_F000], ids=hex)
def test_kvmtools_ram_begins_at_a_multiple_of_2_mib(spaces: Spaces, start: int) -> None:
    at = -(-start // SIZE) * SIZE
    process = OneArea("lkvm-static", start, 2 * SIZE)

    def read(hva: int, length: int) -> bytes:
        return spaces.machine.read_memory(BASE + hva - at, length)

    found = find(process, [], spaces.machine.vcpus, read)
    assert found.slots == (MemorySlot(BASE, SIZE, at),)
    assert found.valid


def test_ram_whose_place_nothing_confirms_is_not_written(spaces: Spaces) -> None:
    """The MMU is off, and no Linux Image is there: it may be, and no more."""
    for vcpu in spaces.machine.vcpus:
        vcpu.set(SCTLR_EL1, 0)
        vcpu.set(PC, BASE + 0x1000)
    spaces.machine.write_memory(BASE + 0x1000, bytes.fromhex("1f2003d5"))
    found = find(OneArea("some-vmm", HVA, SIZE), [], spaces.machine.vcpus, _reading(spaces))
    assert found.slots == (MemorySlot(BASE, SIZE, HVA),)
    assert not found.valid
    assert "--ram IPA=SIZE@HVA" in found.evidence


def test_an_area_without_the_guests_code_is_not_its_ram(spaces: Spaces) -> None:
    found = find(OneArea("some-vmm", HVA, SIZE), [], spaces.machine.vcpus, lambda *_: bytes(4))
    assert found.slots == ()
    assert not found.valid
    assert "--ram IPA=SIZE@HVA" in found.evidence
