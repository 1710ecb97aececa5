"""A fixed state before a step of one line of ``STEPPED``, and the state that steps compare."""

from typing import Final

from gdbstub.aarch64.registers import (
    CPSR,
    ELR_EL1,
    ESR_EL1,
    PC,
    SP_EL0,
    SP_EL1,
    SPSR_EL1,
    VBAR_EL1,
    X,
)
from gdbstub.machine import Vcpu
from tests.contract.programs import BASE, VECTORS, at

_COMPARED: Final = (*X[:6], PC, CPSR, ELR_EL1, SPSR_EL1, ESR_EL1, SP_EL0, SP_EL1)


def place(
    vcpu: Vcpu, line: int, mode: int, *, elr: int = BASE + 0x800, spsr: int = 0x8000_0004
) -> None:
    """Place *vcpu* before *line*, in *mode* (CPSR); its exception returns to *elr* and *spsr*."""
    for number in range(6):
        vcpu.set(X[number], 0x100 + number)
    vcpu.set(X[2], 0x345)
    vcpu.set(X[4], VECTORS + 0x280)  # a branch to there is no interrupt
    vcpu.set(VBAR_EL1, VECTORS)
    vcpu.set(ELR_EL1, elr)
    vcpu.set(SPSR_EL1, spsr)
    vcpu.set(ESR_EL1, 0)
    vcpu.set(PC, at(line))
    vcpu.set(CPSR, mode)


def state(vcpu: Vcpu) -> dict[str, int]:
    """Return the registers that a step of any line may change, by name."""
    return {register.name: vcpu.get(register) for register in _COMPARED}
