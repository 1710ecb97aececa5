"""Classes of A64 loads and stores with the fields of their operands.

``decoder.py`` gives a word its class. Those with no class here are a ``Computation``. Source:
Arm ARM C4.1.94 "Loads and Stores".
"""

from gdbstub.aarch64.a64 import Computation, Instruction
from gdbstub.aarch64.bits import Operand, SignedOperand


class Synchronizing(Instruction):
    """An exclusive access, or one that shares its part of the encoding."""

    keeps_code = in_sequence = True
    size = Operand(31, 30)
    pair = Operand(21)
    Rs = Operand(20, 16)
    Rn = Operand(9, 5)

    @property
    def length(self) -> int:
        """Size of the access in bytes."""
        return 1 << self.size


class Exclusive(Synchronizing):
    """An exclusive load or store of one register or of two."""

    Rt2 = Operand(14, 10)
    Rt = Operand(4, 0)

    @property
    def length(self) -> int:
        """Size of the access in bytes."""
        return 1 << self.size << self.pair


class LoadExclusive(Exclusive):
    """LDXR, LDAXR, LDXP and so on; LDTXR (FEAT_LSUI)."""

    loads_exclusive = True


class StoreExclusive(Exclusive):
    """STXR, STLXR, STXP and so on; STTXR (FEAT_LSUI). ``Rs`` gets the status."""

    stores_exclusive = True


class CompareAndSwapPair(Synchronizing):
    """CASP; CASPT (FEAT_LSUI)."""

    @property
    def length(self) -> int:
        """Size of the access in bytes."""
        return 8 << self.size


class LoadOrdered(Synchronizing):
    """LDAR, STLR, LDLAR, STLLR; CAS; CAST (FEAT_LSUI)."""


class LoadLiteral(Computation):
    """LDR (literal), LDRSW (literal), PRFM (literal)."""

    opc = Operand(31, 30)
    V = Operand(26)
    imm19 = SignedOperand(23, 5)


class LoadPair(Computation):
    """LDP, STP, LDNP, STNP, LDPSW, STGP; LDTP, STTP (FEAT_LSUI)."""

    opc = Operand(31, 30)
    V = Operand(26)
    mode = Operand(24, 23)
    L = Operand(22)
    imm7 = SignedOperand(21, 15)
    Rn = Operand(9, 5)


class LoadSingle(Computation):
    """A load or store of one register."""

    size = Operand(31, 30)
    V = Operand(26)
    opc = Operand(23, 22)
    Rn = Operand(9, 5)


class LoadUnsigned(LoadSingle):
    """LDR, STR and so on with an unsigned offset."""

    imm12 = Operand(21, 10)


class LoadSigned(LoadSingle):
    """LDUR, LDTR, and LDR with pre- and post-index, and so on."""

    imm9 = SignedOperand(20, 12)
    mode = Operand(11, 10)


class LoadRegister(LoadSingle):
    """LDR, STR and so on with an offset in a register."""

    Rm = Operand(20, 16)
    option = Operand(15, 13)
    S = Operand(12)


class LoadAcquire(LoadSingle):
    """LDAPUR, STLUR (FEAT_LRCPC2; of vectors FEAT_LRCPC3)."""

    imm9 = SignedOperand(20, 12)


class LoadAcquireIndexed(Computation):
    """LDAPR with post-index, STLR with pre-index (FEAT_LRCPC3)."""

    size = Operand(31, 30)
    L = Operand(22)
    Rn = Operand(9, 5)


class LoadAcquirePair(Computation):
    """LDIAPP, STILP (FEAT_LRCPC3); post- and pre-indexed unless ``still``."""

    size = Operand(31, 30)
    L = Operand(22)
    still = Operand(12)
    Rn = Operand(9, 5)


class StoreTags(Computation):
    """STG, STZG, ST2G, STZ2G (FEAT_MTE); STGM, LDG and so on, without an index."""

    opc = Operand(23, 22)
    imm9 = SignedOperand(20, 12)
    mode = Operand(11, 10)
    Rn = Operand(9, 5)


class Atomic(Computation):
    """LDADD, SWP and so on; LDAPR; LD64B, ST64B and so on; RCWCLR and so on (FEAT_THE)."""

    size = Operand(31, 30)
    ordering = Operand(23, 22)
    opcode = Operand(15, 12)
    Rn = Operand(9, 5)


class AtomicPair(Computation):
    """LDCLRP, LDSETP, SWPP (FEAT_LSE128); RCWCASP, RCWCLRP and so on (FEAT_D128)."""

    Rn = Operand(9, 5)


class UnprivilegedAtomic(Computation):
    """LDTADD, LDTCLR, LDTSET, SWPT (FEAT_LSUI)."""

    sz = Operand(30)
    Rn = Operand(9, 5)


class CheckedCompareAndSwap(Computation):
    """RCWCAS, RCWSCAS (FEAT_THE)."""

    Rn = Operand(9, 5)


class LoadStructures(Computation):
    """LD1 to LD4, ST1 to ST4 (multiple structures)."""

    Q = Operand(30)
    opcode = Operand(15, 12)
    Rn = Operand(9, 5)


class LoadStructure(Computation):
    """LD1 to LD4, ST1 to ST4 (single structure); LD1R to LD4R; LDAP1, STL1."""

    L = Operand(22)
    R = Operand(21)
    opcode = Operand(15, 13)
    size = Operand(11, 10)
    Rn = Operand(9, 5)
