"""Classes of A64 instructions: the fields of their operands, and what a debugger must know of them.

``decoder.py`` gives a word its class; ``loads_stores.py`` has the classes of loads and stores.
Fields have the names of the Arm ARM, C4.1.
"""

from typing import ClassVar, Final

from gdbstub.aarch64.bits import Operand, SignedOperand, Word

_ADDRESS: Final = (1 << 64) - 1


class Instruction(Word):
    """An instruction word, of which nothing is known; each subclass names its operands' fields.

    Exceptions, most system instructions and unallocated words stay in this class.
    """

    #: True if it changes only general registers, vectors, flags, memory and the PC.
    plain: ClassVar[bool] = False
    #: True if what is fetched after it is what would have been fetched before it.
    keeps_code: ClassVar[bool] = False
    #: True if the next instruction follows it, and masked interrupts make no difference to it.
    linear: ClassVar[bool] = False
    #: True if the next instruction follows it in an exclusive sequence, too.
    in_sequence: ClassVar[bool] = False
    #: True if it may wait for an event or interrupt.
    waits: ClassVar[bool] = False
    #: True if it begins an exclusive sequence, and if it ends one.
    loads_exclusive: ClassVar[bool] = False
    stores_exclusive: ClassVar[bool] = False


class Computation(Instruction):
    """Data processing, and a load or store: the next instruction follows."""

    plain = keeps_code = linear = in_sequence = True


# Data processing


class Adr(Computation):
    """ADR, ADRP."""

    op = Operand(31)
    immlo = Operand(30, 29)
    immhi = SignedOperand(23, 5)
    Rd = Operand(4, 0)


class AddImmediate(Computation):
    """ADD and SUB (immediate), which leave the flags alone."""

    sf = Operand(31)
    op = Operand(30)
    sh = Operand(22)
    imm12 = Operand(21, 10)
    Rn = Operand(9, 5)
    Rd = Operand(4, 0)


class AddImmediateFlags(Computation):
    """ADDS and SUBS (immediate), CMN and CMP with them."""


class MoveWide(Computation):
    """MOVN, MOVZ, MOVK."""

    sf = Operand(31)
    opc = Operand(30, 29)
    hw = Operand(22, 21)
    imm16 = Operand(20, 5)
    Rd = Operand(4, 0)


class MoveRegister(Computation):
    """MOV (register): ORR (shifted register) with the zero register and no shift."""

    sf = Operand(31)
    Rm = Operand(20, 16)
    Rd = Operand(4, 0)


# Branches


class RelativeBranch(Instruction):
    """A branch whose target is at an offset from its own address."""

    plain = keeps_code = True
    #: The offset in instructions.
    imm: SignedOperand

    def target(self, at: int) -> int:
        """Return where the branch at *at* leads to, if it is taken."""
        return at + 4 * self.imm & _ADDRESS


class Branch(RelativeBranch):
    """B."""

    imm = SignedOperand(25, 0)


class BranchWithLink(RelativeBranch):
    """BL."""

    imm = SignedOperand(25, 0)


class ConditionalBranch(RelativeBranch):
    """A branch that goes on behind itself if its condition does not hold."""


class BranchOnFlags(ConditionalBranch):
    """B.cond."""

    imm = SignedOperand(23, 5)
    cond = Operand(3, 0)


class BranchOnZero(ConditionalBranch):
    """CBZ, CBNZ."""

    sf = Operand(31)
    op = Operand(24)
    imm = SignedOperand(23, 5)
    Rt = Operand(4, 0)


class BranchOnBit(ConditionalBranch):
    """TBZ, TBNZ."""

    b5 = Operand(31)
    op = Operand(24)
    b40 = Operand(23, 19)
    imm = SignedOperand(18, 5)
    Rt = Operand(4, 0)


# These two are exceptions on a CPU without the feature, so they are no ``ConditionalBranch``.


class ConsistentBranch(RelativeBranch):
    """BC.cond (FEAT_HBC)."""

    imm = SignedOperand(23, 5)


class CompareAndBranch(RelativeBranch):
    """CB<cc>, CBB<cc>, CBH<cc> (FEAT_CMPBR)."""

    imm = SignedOperand(13, 5)


class RegisterBranch(Instruction):
    """BR, BLR, RET."""

    plain = keeps_code = True
    Rn = Operand(9, 5)


class AuthenticatedBranch(Instruction):
    """BRAA, BLRAA, RETAA and so on: the target depends on a pointer authentication key."""

    plain = keeps_code = True


class ExceptionReturn(Instruction):
    """ERET, ERETAA, ERETAB: PSTATE comes out of SPSR_EL1."""


class HypervisorCall(Instruction):
    """HVC, SMC: whoever serves it may keep the vCPU waiting, or power it off."""


# System instructions


class Hint(Instruction):
    """An instruction of the hint space; those that are not allocated are NOPs."""

    keeps_code = linear = in_sequence = True


class Idle(Hint):
    """YIELD; its only effect is to clear PSTATE.BTYPE, where that permits it."""

    def permits(self, btype: int) -> bool:
        """Return True if it is no exception where PSTATE.BTYPE is *btype*."""
        return btype == 0


class Nop(Idle):
    """NOP; another vCPU may make a branch of it while this one executes it."""

    linear = False


class BranchTarget(Idle):
    """BTI."""

    targets = Operand(7, 6)

    def permits(self, btype: int) -> bool:
        """Return True if it is no exception (Arm ARM, BTypeCompatible_BTI)."""
        return btype in _COMPATIBLE[self.targets]


# Values of PSTATE.BTYPE, for BTI without targets and with c, j, jc.
_COMPATIBLE: Final = ((0,), (0, 1, 2), (0, 1, 3), (0, 1, 2, 3))


class ErrorSynchronization(Hint):
    """ESB (FEAT_RAS): an SError that pends is taken, or put off for good where it is masked."""

    linear = in_sequence = False


class Wait(Hint):
    """WFE, WFI."""

    linear = False
    waits = True


class WaitUntil(Wait):
    """WFET, WFIT (FEAT_WFxT)."""


class Barrier(Instruction):
    """DSB, DMB."""

    keeps_code = linear = in_sequence = True


class ClearExclusive(Barrier):
    """CLREX: a store-exclusive behind it fails."""


class ContextSynchronization(Instruction):
    """ISB, SB: what is behind it is fetched anew."""

    in_sequence = True


class ZeroBlock(Instruction):
    """DC ZVA; DC GVA and DC GZVA (FEAT_MTE): a store to a block that is aligned to its size."""

    Rt = Operand(4, 0)


class ReadRegister(Instruction):
    """MRS."""

    keeps_code = linear = in_sequence = True
    Rt = Operand(4, 0)


class ReadDaif(ReadRegister):
    """MRS Xt, DAIF."""

    linear = in_sequence = False


class WriteDaif(Instruction):
    """MSR DAIF, Xt."""

    Rt = Operand(4, 0)


class SetDaif(Instruction):
    """MSR DAIFSet, #imm."""

    imm = Operand(11, 8)


class ClearDaif(Instruction):
    """MSR DAIFClr, #imm."""

    imm = Operand(11, 8)
