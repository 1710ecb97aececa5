"""The registers that are written when a vCPU takes an exception."""

import pytest

from gdbstub.aarch64.registers import (
    CPSR,
    ELR_EL1,
    ESR_EL1,
    ID_AA64PFR1_EL1,
    MDSCR_EL1,
    PC,
    SCTLR_EL1,
    SPSR_EL1,
    VBAR_EL1,
)
from gdbstub.aarch64.sysreg import EC, ESR, PSTATE
from gdbstub.architecture import Register
from gdbstub.debug.guest_exception import take_exception
from gdbstub.errors import NoSuchRegister
from gdbstub.machine import Power

VBAR = 0xFFFF_8000_0801_0800


class NarrowVcpu:
    """A vCPU that cuts PC to 32 bits at every write while PSTATE is AArch32's.

    So does KVM: linux/arch/arm64/kvm/guest.c, set_core_reg().
    """

    power = Power.ON

    def __init__(self, pc: int, pstate: PSTATE) -> None:
        self.values = {PC: pc, CPSR: int(pstate), VBAR_EL1: VBAR, SCTLR_EL1: 0, MDSCR_EL1: 0}

    def get(self, register: Register) -> int:
        if register not in self.values:
            raise NoSuchRegister(register.name)
        return self.values[register]

    def set(self, register: Register, value: int) -> None:
        self.values[register] = value
        if PSTATE(self.values[CPSR]).nRW:
            self.values[PC] &= 0xFFFF_FFFF


def test_a_bkpt_of_32_bit_user_space_leads_to_a_64_bit_vector() -> None:
    thumb = PSTATE(1 << 5).replace(nRW=1, NZCV=0b0110)
    vcpu = NarrowVcpu(0x0041_2346, thumb)
    take_exception(vcpu, ESR.of(EC=EC.BKPT32, comment=1), 0)
    assert vcpu.values[PC] == VBAR + 0x600
    assert PSTATE(vcpu.values[CPSR]) == PSTATE.of(NZCV=0b0110, PAN=1, DAIF=0xF, EL=1, SP=1)
    assert vcpu.values[ELR_EL1] == 0x0041_2346
    assert vcpu.values[SPSR_EL1] == thumb
    assert vcpu.values[ESR_EL1] == ESR.of(EC=EC.BKPT32, comment=1)


@pytest.mark.parametrize(("mte", "tco"), [(None, 0), (0, 0), (1, 0), (2, 1), (3, 1)])
def test_tag_checks_are_off_at_the_vector_where_there_are_any(mte: int | None, tco: int) -> None:
    vcpu = NarrowVcpu(0x4000, PSTATE.of(EL=1, SP=1))
    if mte is not None:
        vcpu.values[ID_AA64PFR1_EL1] = mte << 8 | 0x21
    take_exception(vcpu, ESR.of(EC=EC.BRK64, comment=1), 0)
    assert PSTATE(vcpu.values[CPSR]).TCO == tco
