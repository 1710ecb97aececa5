"""Classes of A64 instructions: the fields of their operands, and what a debugger must know of them.

``decoder.py`` gives a word its class. Fields have the names of the Arm ARM, C4.1.
"""

from typing import ClassVar, Final

from gdbstub.aarch64.bits import Bits, SignedBits, Word

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


class Computation(Instruction):
    """Data processing, and a load or store: the next instruction follows."""

    plain = keeps_code = linear = in_sequence = True


# Data processing


class Adr(Computation):
    """ADR, ADRP."""

    op = Bits(31)
    immlo = Bits(30, 29)
    immhi = SignedBits(23, 5)
    Rd = Bits(4, 0)


class AddImmediate(Computation):
    """ADD and SUB (immediate), which leave the flags alone."""

    sf = Bits(31)
    op = Bits(30)
    sh = Bits(22)
    imm12 = Bits(21, 10)
    Rn = Bits(9, 5)
    Rd = Bits(4, 0)


class MoveWide(Computation):
    """MOVN, MOVZ, MOVK."""

    sf = Bits(31)
    opc = Bits(30, 29)
    hw = Bits(22, 21)
    imm16 = Bits(20, 5)
    Rd = Bits(4, 0)


class MoveRegister(Computation):
    """MOV (register): ORR (shifted register) with the zero register and no shift."""

    sf = Bits(31)
    Rm = Bits(20, 16)
    Rd = Bits(4, 0)


# Branches


class RelativeBranch(Instruction):
    """A branch whose target is at an offset from its own address."""

    plain = keeps_code = True
    #: The offset in instructions.
    imm: SignedBits

    def target(self, at: int) -> int:
        """Return where the branch at *at* leads to, if it is taken."""
        return at + 4 * self.imm & _ADDRESS


class Branch(RelativeBranch):
    """B."""

    imm = SignedBits(25, 0)


class BranchWithLink(RelativeBranch):
    """BL."""

    imm = SignedBits(25, 0)


class ConditionalBranch(RelativeBranch):
    """A branch that goes on behind itself if its condition does not hold."""


class BranchOnFlags(ConditionalBranch):
    """B.cond."""

    imm = SignedBits(23, 5)
    cond = Bits(3, 0)


class BranchOnZero(ConditionalBranch):
    """CBZ, CBNZ."""

    sf = Bits(31)
    op = Bits(24)
    imm = SignedBits(23, 5)
    Rt = Bits(4, 0)


class BranchOnBit(ConditionalBranch):
    """TBZ, TBNZ."""

    b5 = Bits(31)
    op = Bits(24)
    b40 = Bits(23, 19)
    imm = SignedBits(18, 5)
    Rt = Bits(4, 0)


# These two are exceptions on a CPU without the feature, so they are no ``ConditionalBranch``.


class ConsistentBranch(RelativeBranch):
    """BC.cond (FEAT_HBC)."""

    imm = SignedBits(23, 5)


class CompareAndBranch(RelativeBranch):
    """CB<cc>, CBB<cc>, CBH<cc> (FEAT_CMPBR)."""

    imm = SignedBits(13, 5)


class RegisterBranch(Instruction):
    """BR, BLR, RET."""

    plain = keeps_code = True
    Rn = Bits(9, 5)


class AuthenticatedBranch(Instruction):
    """BRAA, BLRAA, RETAA and so on: the target depends on a pointer authentication key."""

    plain = keeps_code = True


class ExceptionReturn(Instruction):
    """ERET, ERETAA, ERETAB: PSTATE comes out of SPSR_EL1."""


# System instructions


class Hint(Instruction):
    """An instruction of the hint space; those that are not allocated are NOPs."""

    keeps_code = linear = in_sequence = True


class Nop(Hint):
    """NOP; another vCPU may make a branch of it while this one executes it."""

    linear = False


class Yield(Hint):
    """YIELD."""


class BranchTarget(Hint):
    """BTI."""

    targets = Bits(7, 6)


class Wait(Hint):
    """WFE, WFI."""

    linear = False
    waits = True


class WaitUntil(Wait):
    """WFET, WFIT (FEAT_WFxT)."""


class Barrier(Instruction):
    """CLREX, DSB, DMB."""

    keeps_code = linear = in_sequence = True


class ContextSynchronization(Instruction):
    """ISB, SB: what is behind it is fetched anew."""

    in_sequence = True


class ReadRegister(Instruction):
    """MRS."""

    keeps_code = linear = True
    Rt = Bits(4, 0)


class ReadDaif(ReadRegister):
    """MRS Xt, DAIF."""

    linear = False


class WriteDaif(Instruction):
    """MSR DAIF, Xt."""

    Rt = Bits(4, 0)


class SetDaif(Instruction):
    """MSR DAIFSet, #imm."""

    imm = Bits(11, 8)


class ClearDaif(Instruction):
    """MSR DAIFClr, #imm."""

    imm = Bits(11, 8)


# Loads and stores; those that are not told apart are a ``Computation``.


class Synchronizing(Instruction):
    """An exclusive access, or one that shares its part of the encoding."""

    keeps_code = in_sequence = True
    size = Bits(31, 30)
    L = Bits(22)
    pair = Bits(21)
    Rs = Bits(20, 16)
    Rn = Bits(9, 5)


class LoadExclusive(Synchronizing):
    """LDXR, LDAXR, LDXP and so on; LDTXR (FEAT_LSUI)."""


class StoreExclusive(Synchronizing):
    """STXR, STLXR, STXP and so on; STTXR (FEAT_LSUI). ``Rs`` gets the status."""


class CompareAndSwapPair(Synchronizing):
    """CASP."""


class LoadOrdered(Synchronizing):
    """LDAR, STLR, LDLAR, STLLR; CAS."""


class LoadLiteral(Computation):
    """LDR (literal), LDRSW (literal), PRFM (literal)."""

    opc = Bits(31, 30)
    V = Bits(26)
    imm19 = SignedBits(23, 5)


class LoadPair(Computation):
    """LDP, STP, LDNP, STNP, LDPSW, STGP; LDTP, STTP (FEAT_LSUI)."""

    opc = Bits(31, 30)
    V = Bits(26)
    mode = Bits(24, 23)
    L = Bits(22)
    imm7 = SignedBits(21, 15)
    Rn = Bits(9, 5)


class LoadSingle(Computation):
    """A load or store of one register."""

    size = Bits(31, 30)
    V = Bits(26)
    opc = Bits(23, 22)
    Rn = Bits(9, 5)


class LoadUnsigned(LoadSingle):
    """LDR, STR and so on with an unsigned offset."""

    imm12 = Bits(21, 10)


class LoadSigned(LoadSingle):
    """LDUR, LDTR, and LDR with pre- and post-index, and so on."""

    imm9 = SignedBits(20, 12)
    mode = Bits(11, 10)


class LoadRegister(LoadSingle):
    """LDR, STR and so on with an offset in a register."""

    Rm = Bits(20, 16)
    option = Bits(15, 13)
    S = Bits(12)


class LoadAcquire(LoadSingle):
    """LDAPUR, STLUR (FEAT_LRCPC2; of vectors FEAT_LRCPC3)."""

    imm9 = SignedBits(20, 12)


class LoadAcquireIndexed(Computation):
    """LDAPR with post-index, STLR with pre-index (FEAT_LRCPC3)."""

    size = Bits(31, 30)
    L = Bits(22)
    Rn = Bits(9, 5)


class LoadAcquirePair(Computation):
    """LDIAPP, STILP (FEAT_LRCPC3); post- and pre-indexed unless ``still``."""

    size = Bits(31, 30)
    L = Bits(22)
    still = Bits(12)
    Rn = Bits(9, 5)


class Atomic(Computation):
    """LDADD, SWP and so on; LDAPR; LD64B, ST64B and so on; RCWCLR and so on (FEAT_THE)."""

    size = Bits(31, 30)
    ordering = Bits(23, 22)
    opcode = Bits(15, 12)
    Rn = Bits(9, 5)


class AtomicPair(Computation):
    """LDCLRP, LDSETP, SWPP (FEAT_LSE128); RCWCASP, RCWCLRP and so on (FEAT_D128)."""

    Rn = Bits(9, 5)


class CheckedCompareAndSwap(Computation):
    """RCWCAS, RCWSCAS (FEAT_THE)."""

    Rn = Bits(9, 5)


class LoadStructures(Computation):
    """LD1 to LD4, ST1 to ST4 (multiple structures)."""

    Q = Bits(30)
    opcode = Bits(15, 12)
    Rn = Bits(9, 5)


class LoadStructure(Computation):
    """LD1 to LD4, ST1 to ST4 (single structure); LD1R to LD4R; LDAP1, STL1."""

    L = Bits(22)
    R = Bits(21)
    opcode = Bits(15, 13)
    size = Bits(11, 10)
    Rn = Bits(9, 5)
