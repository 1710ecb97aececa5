"""Exceptions from another origin, or to other vectors, than those that a resume has seen."""

import pytest

from gdbstub.aarch64.registers import (
    CPSR,
    ELR_EL1,
    PC,
    SCTLR_EL1,
    SPSR_EL1,
    SYSTEM_REGISTERS,
    TCR_EL1,
    TTBR0_EL1,
    VBAR_EL1,
    X,
)
from gdbstub.aarch64.sysreg import SCTLR, TCR
from gdbstub.debug.caches import Content
from gdbstub.target import Action, Range, Stopped, StopReason
from tests.contract.backends import Backend
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.origins import (
    FAULTS_AT_EL1T,
    GOES_TO_EL0,
    LOADS_AFTER,
    LOOPS_UP_TO,
    TURNS_ON_THE_MMU,
)
from tests.contract.programs import BASE, DATA, STRAIGHT, VECTORS, at, program
from tests.contract.run_control import HW, NEVER, SW, put
from tests.tables import AF, Tables

#: PSTATE at EL1h with all masked, and with IRQ and FIQ unmasked.
MASKED, UNMASKED = 0x3C5, 0x305
HANDLER = program((0x910004C6, "add x6, x6, #1"), (0xD69F03E0, "eret"))
SPINS = program((0x14000000, "b ."))
BRK_OF_ITS_OWN = 0xD4202460  # brk #0x123
UNALLOCATED = 0


def _fill(client: Client) -> None:
    """Have a client use every breakpoint comparator."""
    for number in range(client.machine.breakpoint_slots):
        put(client, HW, DATA + 0x400 + 4 * number)


def test_vectors_that_the_mmu_brings_are_not_taken_for_missing(start: Start) -> None:
    """A kernel names them by a virtual address before it turns its MMU on."""
    client = Client(start(TURNS_ON_THE_MMU).machine)
    vcpu = client.machine.vcpus[0]
    vbar = 0x10_0000_0000
    tables = Tables(base=BASE + 0x10_0000)
    tables.map(BASE, BASE, 3, AF)
    tables.map(vbar, VECTORS, 3, AF)
    for ipa, data in tables.content().items():
        client.machine.write_memory(ipa, data)
    client.machine.write_memory(VECTORS + 0x200, HANDLER.image)
    for register, value in {
        SYSTEM_REGISTERS["MAIR_EL1"]: 0xFF,
        TCR_EL1: TCR.of(**tables.tcr()),
        TTBR0_EL1: tables.ttbr,
        VBAR_EL1: vbar,
        X[0]: SCTLR(vcpu.get(SCTLR_EL1)).replace(M=1),
        X[6]: 0,
    }.items():
        vcpu.set(register, value)
    client.target.caches.invalidate(Content.REGISTER_WRITTEN)
    put(client, SW, at(4))
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    assert (client.pc(1), client.x(1, 6)) == (at(4), 1)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("word", "breakpoint", "words"),
    [(BRK_OF_ITS_OWN, False, "BRK"), (UNALLOCATED, True, "unknown reason")],
    ids=["own BRK", "false breakpoint"],
)
def test_a_fault_that_the_debugger_hands_on_is_told_first(
    start: Start, word: int, breakpoint: bool, words: str, full: bool
) -> None:
    """No comparator is needed to see it: the vCPU is at its vector already."""
    client = Client(start(STRAIGHT).machine)
    vcpu = client.machine.vcpus[0]
    client.machine.write_memory(at(1), word.to_bytes(4, "little"))
    if breakpoint:
        put(client, SW, at(1), NEVER)
    if full:
        _fill(client)
    report = client.go()
    assert f"{words}, ESR_EL1" in report.text
    assert (vcpu.get(ELR_EL1), client.pc(1)) == (at(1), 0x200)
    assert client.go() == report  # nothing is executed there


def test_a_fault_at_el1t_of_a_guest_that_began_at_el1h_is_told(start: Start) -> None:
    client = Client(start(FAULTS_AT_EL1T).machine)
    report = client.go()
    assert f"unknown reason, ESR_EL1 0x2000000, ELR_EL1 {at(3):#x}" in report.text
    assert client.pc(1) == 0


def test_a_vcpu_at_the_address_of_a_vector_has_taken_no_exception(start: Start) -> None:
    """A secondary one has PC 0 until its reset is done, and VBAR_EL1 is 0 as well."""
    client = Client(start(STRAIGHT).machine)
    vcpu = client.machine.vcpus[0]
    vcpu.set(PC, 0)
    vcpu.set(SPSR_EL1, 0x1DE7_EC7E_DBAD_C0DE)  # as KVM has it then
    report = client.go()
    assert "instruction abort, ESR_EL1" in report.text
    assert (vcpu.get(ELR_EL1), client.pc(1)) == (0, 0x200)


def test_an_interrupt_at_el0_of_a_guest_that_began_at_el1_is_told(
    start: Start, backend: Backend
) -> None:
    client = Client(start(GOES_TO_EL0).machine)
    backend.pend_irq(client.machine, True)
    report = client.go()
    assert f"an IRQ, ELR_EL1 {at(5):#x}" in report.text
    assert client.pc(1) == 0x480


def test_a_step_is_none_of_the_vectors_that_the_step_before_has_seen(
    start: Start, backend: Backend
) -> None:
    """The first ends at an address that could be a vector's."""
    client = Client(start(STRAIGHT).machine)
    vcpu = client.machine.vcpus[0]
    client.machine.write_memory(BASE + 0x7C, LOADS_AFTER.image)
    vcpu.set(CPSR, UNMASKED)
    vcpu.set(X[0], DATA)
    vcpu.set(PC, BASE + 0x7C)
    assert client.resume({1: Action.STEP}) == Stopped(1)
    saved = vcpu.get(ELR_EL1), vcpu.get(SPSR_EL1)
    backend.pend_irq(client.machine, True)
    assert client.resume({1: Action.STEP}) == Stopped(1)
    backend.pend_irq(client.machine, False)
    assert (client.pc(1), vcpu.get(CPSR)) == (BASE + 0x84, UNMASKED)
    assert (vcpu.get(ELR_EL1), vcpu.get(SPSR_EL1)) == saved


@pytest.mark.parametrize("offset", [0x200, 0x280, 0x300], ids=hex)
def test_code_at_an_interrupts_vector_is_no_interrupt(start: Start, offset: int) -> None:
    """A loop falls through to it, and the registers hold what an entry from the loop would save."""
    client = Client(start(STRAIGHT).machine)
    vcpu = client.machine.vcpus[0]
    begin = VECTORS + offset - 16
    client.machine.write_memory(begin, LOOPS_UP_TO.image)
    for register, value in {
        VBAR_EL1: VECTORS, X[1]: 50, PC: begin, CPSR: UNMASKED, ELR_EL1: begin + 4,
        SPSR_EL1: MASKED,
    }.items():  # fmt: skip
        vcpu.set(register, value)
    client.target.caches.invalidate(Content.REGISTER_WRITTEN)
    assert client.resume({1: Range(begin, begin + 16)}) == Stopped(1)
    assert (client.pc(1), vcpu.get(CPSR)) == (VECTORS + offset, UNMASKED)
    assert (vcpu.get(ELR_EL1), vcpu.get(SPSR_EL1)) == (begin + 4, MASKED)
