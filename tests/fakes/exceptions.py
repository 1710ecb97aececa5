"""Exception entry to EL1, as hardware does it (Arm ARM D1.3, "Exception entry").

Written apart from the project's own on purpose: each checks the other.
"""

from typing import Final

from gdbstub.aarch64.registers import (
    CPSR,
    ELR_EL1,
    ESR_EL1,
    FAR_EL1,
    PC,
    SCTLR_EL1,
    SPSR_EL1,
    VBAR_EL1,
)
from gdbstub.aarch64.sysreg import PSTATE, SCTLR
from tests.fakes.registers import RegisterFile

IL: Final = 1 << 25
UNKNOWN: Final = 0x00 << 26 | IL
SVC: Final = 0x15 << 26 | IL
BRK: Final = 0x3C << 26 | IL
ILLEGAL: Final = 0x0E << 26 | IL
SERROR: Final = 0x2F << 26 | IL
_LOWER_IABT: Final = 0x20
_LOWER_DABT: Final = 0x24
_EXTERNAL: Final = 0x10
_IRQ_VECTOR: Final = 0x80
SERROR_VECTOR: Final = 0x180
_SPSR_SS: Final = 1 << 21

_KEPT: Final = 0xF140_0000  # NZCV, DIT, PAN
_MASKED_EL1H: Final = 0x3C5


def _offset(pstate: PSTATE) -> int:
    """Return the offset of the quarter of the vector table."""
    if pstate.EL == 0:
        return 0x400
    return 0x200 if pstate.SP else 0x000


def enter(
    registers: RegisterFile,
    *,
    back: int,
    esr: int | None,
    far: int | None = None,
    vector: int = 0,
) -> None:
    """Take an exception that returns to *back*; without an ESR it is an IRQ.

    *vector* is the offset of its kind among the four of its origin; 0 is a synchronous one.
    """
    old = registers.pstate
    sctlr = SCTLR(registers.get(SCTLR_EL1))
    new = old & _KEPT | _MASKED_EL1H
    if not sctlr.SPAN:
        new |= 1 << 22
    if sctlr.DSSBS:
        new |= 1 << 12
    registers.set(ELR_EL1, back)
    registers.set(SPSR_EL1, old)
    if esr is not None:
        registers.set(ESR_EL1, esr)
    if far is not None:
        registers.set(FAR_EL1, far)
    kind = _IRQ_VECTOR if esr is None else vector
    registers.set(PC, registers.get(VBAR_EL1) + _offset(old) + kind)
    registers.set(CPSR, new)


def abort(registers: RegisterFile, far: int, *, fetch: bool = False, write: bool = False) -> None:
    """Take a synchronous external abort, which is what KVM makes of a fetch from nowhere."""
    ec = _LOWER_IABT if fetch else _LOWER_DABT
    if registers.pstate.EL == 1:
        ec += 1
    esr = ec << 26 | IL | write << 6 | _EXTERNAL
    enter(registers, back=registers.pc, esr=esr, far=far)


def leak_step(registers: RegisterFile) -> None:
    """KVM lets its own step bit through to SPSR_EL1 when an IRQ comes before a stepped insn."""
    registers.set(SPSR_EL1, registers.get(SPSR_EL1) | _SPSR_SS)
