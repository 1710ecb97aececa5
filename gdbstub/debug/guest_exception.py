"""Reinjection of a debug exception that is the guest's own, and the undoing of a fetch abort.

KVM cannot inject debug exceptions, so the registers are written as hardware would have written
them. ``aarch64/exceptions.py`` computes their values.
A guest whose EL1 is AArch32 takes exceptions in another way, which is not known here.
"""

import logging
from typing import Final, NamedTuple, Self

from gdbstub.aarch64.exceptions import Before, enter
from gdbstub.aarch64.registers import (
    CPSR,
    ELR_EL1,
    ESR_EL1,
    FAR_EL1,
    ID_AA64PFR1_EL1,
    MDSCR_EL1,
    PC,
    SCTLR_EL1,
    SPSR_EL1,
    VBAR_EL1,
)
from gdbstub.aarch64.sysreg import EC, ESR, ID_AA64PFR1, MDSCR, PSTATE, SCTLR
from gdbstub.errors import NoSuchRegister, RegisterRefused
from gdbstub.machine import Vcpu
from gdbstub.swbp import BRK_COMMENT

_log = logging.getLogger(__name__)

_MTE2: Final = 2
#: The most addresses of one vCPU that are warned of.
_WARNINGS: Final = 16
_FETCH_ABORTS: Final = {EC.INSTRUCTION_ABORT_LOWER, EC.INSTRUCTION_ABORT_SAME}
_SAVED: Final = (ELR_EL1, SPSR_EL1, ESR_EL1, FAR_EL1)


class CopiedBreakpoints:
    """Addresses where a vCPU has executed a BRK with our immediate that is no breakpoint of ours.

    No guest has one, unless it has copied text with a breakpoint in it.
    """

    def __init__(self, index: int) -> None:
        """Begin without any; *index* is that of the vCPU."""
        self._index = index
        self._warned: set[int] = set()

    def note(self, syndrome: ESR, pc: int) -> None:
        """Warn, once for an address, if the exception at *pc* is of such a BRK."""
        if syndrome.EC != EC.BRK64 or syndrome.comment != BRK_COMMENT or pc in self._warned:
            return
        if len(self._warned) < _WARNINGS:
            self._warned.add(pc)
            _log.warning(
                "vCPU %d executed BRK #%#x at %#x, where no breakpoint is, and takes it as its own "
                "exception: if the guest has copied a breakpoint, use hbreak there, or monitor "
                "break prefer hardware",
                self._index,
                BRK_COMMENT,
                pc,
            )


def take_exception(vcpu: Vcpu, syndrome: ESR, far: int) -> bool:
    """Make *vcpu*, which is not running, take the exception to EL1.

    Returns False, with nothing written, if its EL1 is AArch32.
    """
    before = Before(
        pc=vcpu.get(PC),
        pstate=PSTATE(vcpu.get(CPSR)),
        vbar=vcpu.get(VBAR_EL1),
        sctlr=SCTLR(vcpu.get(SCTLR_EL1)),
        mdscr=MDSCR(vcpu.get(MDSCR_EL1)),
        tagged=_tagged(vcpu),
    )
    after = enter(before, syndrome, far)
    # First: KVM refuses a PSTATE of AArch64 at EL1 where that is AArch32, and cuts PC to 32 bits
    # while PSTATE is that of AArch32.
    try:
        vcpu.set(CPSR, after.pstate)
    except RegisterRefused:
        return False
    vcpu.set(ELR_EL1, after.elr)
    vcpu.set(SPSR_EL1, after.spsr)
    vcpu.set(ESR_EL1, after.esr)
    if after.far is not None:
        vcpu.set(FAR_EL1, after.far)
    vcpu.set(PC, after.pc)
    return True


def _tagged(vcpu: Vcpu) -> bool:
    """Return True if *vcpu* has FEAT_MTE2, and with it PSTATE.TCO."""
    try:
        return ID_AA64PFR1(vcpu.get(ID_AA64PFR1_EL1)).MTE >= _MTE2
    except NoSuchRegister:
        return False


class SavedState(NamedTuple):
    """The registers of a vCPU that the entry of an exception overwrites."""

    elr: int
    spsr: int
    esr: int
    far: int

    @classmethod
    def of(cls, vcpu: Vcpu) -> Self:
        """Read these registers of *vcpu*."""
        return cls(*(vcpu.get(row) for row in _SAVED))


def undo_fetch_abort(vcpu: Vcpu, gva: int, before: SavedState | None) -> bool:
    """Undo the Instruction Abort of a fetch from *gva*, if *vcpu* is at the vector of one.

    Nothing of the handler has been executed. *before*, where it is known, is what the vCPU goes
    back to: the code that the client has interrupted may rely on it. Returns False for another
    exception.
    """
    after = SavedState.of(vcpu)
    if after.elr != gva or ESR(after.esr).EC not in _FETCH_ABORTS:
        return False
    stepped = MDSCR(vcpu.get(MDSCR_EL1)).SS
    vcpu.set(CPSR, PSTATE(after.spsr) if stepped else PSTATE(after.spsr).replace(SS=0))
    vcpu.set(PC, gva)
    for row, value in zip(_SAVED, before or (), strict=before is not None):
        vcpu.set(row, value)
    return True
