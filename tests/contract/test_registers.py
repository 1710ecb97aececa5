"""Registers: what was written is read back, and is what the guest has."""

import random
from collections.abc import Iterator

import pytest

from gdbstub.aarch64 import registers as rows
from gdbstub.aarch64.registers import CPSR, FPCR, FPSR, PC, SP, SP_EL0, SP_EL1, X
from gdbstub.architecture import Register
from gdbstub.debug.registers import ClientRegisters
from gdbstub.errors import NoSuchRegister, RegisterRefused
from gdbstub.machine import DebugRegisters, Machine, Vcpu
from tests.contract.conftest import Start
from tests.contract.programs import BASE, SPIN, STACK_POINTER, VECTOR_COPY

CPACR_EL1 = Register("CPACR_EL1", 64, rows.sysreg_id(3, 0, 1, 0, 2))

EL1H = 0x3C5
EL1T = 0x3C4
EL2H = 0x3C9

_LEGAL = {
    CPSR: 0x6000_03C5,
    FPSR: 0x0800_001F,
    FPCR: 0x0300_0000,
    PC: BASE + 0x1234_5678,
    rows.VBAR_EL1: 0xFFFF_8000_1234_5800,
    rows.SCTLR_EL1: 0x00C5_0879,
    rows.TCR_EL1: 0x0000_0005_1059_3519,
    rows.MDSCR_EL1: 0x0000_1000,
    rows.SPSR_EL1: 0x8000_03C4,
    rows.ESR_EL1: 0x9600_0045,
    rows.CSSELR_EL1: 2,
    rows.TTBR0_EL1: 0x0000_0000_4010_0000,
    rows.TTBR1_EL1: 0x0042_0000_4020_0000,
}
_READ_ONLY = (
    *(SP, rows.MPIDR_EL1, rows.CCSIDR_EL1, rows.DCZID_EL0),
    *(rows.ID_AA64ISAR0_EL1, rows.ID_AA64ISAR2_EL1, rows.ID_AA64MMFR0_EL1, rows.ID_AA64PFR1_EL1),
)
#: Registers that count, and so do not keep a written value.
_COUNTING = (rows.CNTVCT_EL0,)


def _writable(machine: Machine) -> Iterator[Register]:
    """Yield the registers that keep a written value on every machine.

    These are the client's registers except system registers, and those that the stub uses.
    """
    shown = [row for row in ClientRegisters(machine).rows if row.feature != rows.SYSTEM]
    used = [row for row in vars(rows).values() if isinstance(row, Register)]
    for row in {row.name: row for row in (*shown, *used)}.values():
        if row.id and row not in (*_READ_ONLY, *_COUNTING):
            yield row


def _value(register: Register) -> int:
    """Return a value that no other register has, with the register's top bit set."""
    if register.name == "ffr":
        return (1 << register.bits // 2) - 1  # ones below, zeros above: nothing else is allowed
    pattern = random.Random(register.id).getrandbits(register.bits) | 1 << register.bits - 1
    return _LEGAL.get(register, pattern)


def test_every_register_keeps_its_own_value(start: Start) -> None:
    machine = start(SPIN).machine
    vcpu = machine.vcpus[0]
    writable = list(_writable(machine))
    for register in writable:
        vcpu.set(register, _value(register))
    read = {r.name: hex(vcpu.get(r)) for r in writable}
    assert read == {r.name: hex(_value(r)) for r in writable}


def test_vcpus_have_registers_of_their_own(start: Start) -> None:
    first, second = start(SPIN, vcpus=2).machine.vcpus
    first.set(X[7], 7)
    second.set(X[7], 8)
    assert (first.get(X[7]), second.get(X[7])) == (7, 8)


def test_mpidr_names_the_vcpu(start: Start) -> None:
    vcpus = start(SPIN, vcpus=2).machine.vcpus
    assert [vcpu.get(rows.MPIDR_EL1) & 0xFF for vcpu in vcpus] == [0, 1]


def _stack_pointers(vcpu: Vcpu) -> tuple[int, int]:
    return vcpu.get(SP_EL0), vcpu.get(SP_EL1)


@pytest.mark.parametrize("pstate", [EL1H, EL1T])
def test_the_stack_pointers_are_apart_in_either_mode(start: Start, pstate: int) -> None:
    vcpu = start(SPIN).machine.vcpus[0]
    vcpu.set(CPSR, pstate)
    vcpu.set(SP_EL0, 0x1110)
    vcpu.set(SP_EL1, 0x2220)
    assert _stack_pointers(vcpu) == (0x1110, 0x2220)
    vcpu.set(CPSR, pstate ^ 1)
    assert _stack_pointers(vcpu) == (0x1110, 0x2220)


def test_the_guest_uses_the_stack_pointer_that_pstate_selects(start: Start) -> None:
    recorder = start(STACK_POINTER)
    vcpu = recorder.machine.vcpus[0]
    vcpu.set(SP_EL0, 0x1110)
    vcpu.set(SP_EL1, 0x2220)
    recorder.step()
    vcpu.set(CPSR, EL1T)
    recorder.step()
    assert (vcpu.get(X[0]), vcpu.get(X[1])) == (0x2220, 0x1110)


def test_the_guest_sees_all_128_bits_of_a_vector(start: Start) -> None:
    recorder = start(VECTOR_COPY)
    recorder.machine.arm(DebugRegisters(enabled=True))
    vcpu = recorder.machine.vcpus[0]
    # The low bits of an SVE vector are SIMD's.
    first, second = ClientRegisters(recorder.machine).rows[34:36]
    value = 0xFEDC_BA98_7654_3210_0123_4567_89AB_CDEF
    vcpu.set(CPACR_EL1, 3 << 20)
    vcpu.set(first, value)
    assert recorder.debug().esr.comment == 1
    assert vcpu.get(second) == value


def test_a_mode_that_the_machine_lacks_is_refused_and_changes_nothing(start: Start) -> None:
    vcpu = start(SPIN).machine.vcpus[0]
    with pytest.raises(RegisterRefused):
        vcpu.set(CPSR, EL2H)
    assert vcpu.get(CPSR) == EL1H


def test_no_such_register(start: Start) -> None:
    vcpu = start(SPIN).machine.vcpus[0]
    nothing = Register("nothing", 64, rows.sysreg_id(3, 0, 15, 15, 7))
    for register in nothing, SP:  # SP stands for one of two: the machine knows only those
        with pytest.raises(NoSuchRegister):
            vcpu.get(register)
    with pytest.raises(NoSuchRegister):
        vcpu.set(nothing, 0)
