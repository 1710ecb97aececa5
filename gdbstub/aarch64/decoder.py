"""The decoder of A64 instructions: one table of encodings, and a lookup in it.

It is the only one: all that is known of an instruction follows from the class that ``decode``
gives it. Source: Arm ARM C4.1 "A64 instruction set encoding", whose sections the table names.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from gdbstub.aarch64.a64 import (
    AddImmediate,
    AddImmediateFlags,
    Adr,
    AuthenticatedBranch,
    Barrier,
    Branch,
    BranchOnBit,
    BranchOnFlags,
    BranchOnZero,
    BranchTarget,
    BranchWithLink,
    ClearDaif,
    ClearExclusive,
    CompareAndBranch,
    Computation,
    ConsistentBranch,
    ContextSynchronization,
    ErrorSynchronization,
    ExceptionReturn,
    Hint,
    HypervisorCall,
    Idle,
    Instruction,
    MoveRegister,
    MoveWide,
    Nop,
    ReadDaif,
    ReadRegister,
    RegisterBranch,
    SetDaif,
    Wait,
    WaitUntil,
    WriteDaif,
    ZeroBlock,
)
from gdbstub.aarch64.loads_stores import (
    Atomic,
    AtomicPair,
    CheckedCompareAndSwap,
    CompareAndSwapPair,
    LoadAcquire,
    LoadAcquireIndexed,
    LoadAcquirePair,
    LoadExclusive,
    LoadLiteral,
    LoadOrdered,
    LoadPair,
    LoadRegister,
    LoadSigned,
    LoadStructure,
    LoadStructures,
    LoadUnsigned,
    StoreExclusive,
    StoreTags,
    UnprivilegedAtomic,
)

# From bit 31 down; x is an operand's. Of two that fit, the earlier says more.
_TABLE: Final = (
    # C4.1.92 Data processing -- immediate
    ("xxx1_0000_xxxx_xxxx_xxxx_xxxx_xxxx_xxxx", Adr),
    ("xx01_0001_0xxx_xxxx_xxxx_xxxx_xxxx_xxxx", AddImmediate),
    ("xx11_0001_0xxx_xxxx_xxxx_xxxx_xxxx_xxxx", AddImmediateFlags),
    ("x001_0010_1xxx_xxxx_xxxx_xxxx_xxxx_xxxx", MoveWide),  # MOVN
    ("x1x1_0010_1xxx_xxxx_xxxx_xxxx_xxxx_xxxx", MoveWide),  # MOVZ, MOVK
    ("xxx1_00xx_xxxx_xxxx_xxxx_xxxx_xxxx_xxxx", Computation),
    # C4.1.93 Branches, exception generating and system instructions
    ("0101_0100_xxxx_xxxx_xxxx_xxxx_xxx0_xxxx", BranchOnFlags),
    ("0101_0100_xxxx_xxxx_xxxx_xxxx_xxx1_xxxx", ConsistentBranch),
    ("0101_0101_00xx_xxxx_xxxx_xxxx_xxx1_1111", AuthenticatedBranch),  # RETAASPPC, RETABSPPC
    ("x011_010x_xxxx_xxxx_xxxx_xxxx_xxxx_xxxx", BranchOnZero),
    ("x011_011x_xxxx_xxxx_xxxx_xxxx_xxxx_xxxx", BranchOnBit),
    ("x111_0100_xxxx_xxxx_00xx_xxxx_xxxx_xxxx", CompareAndBranch),  # register
    ("0111_0100_xxxx_xxxx_1xxx_xxxx_xxxx_xxxx", CompareAndBranch),  # bytes and halfwords
    ("x111_0101_xxxx_xxxx_x0xx_xxxx_xxxx_xxxx", CompareAndBranch),  # immediate
    ("0001_01xx_xxxx_xxxx_xxxx_xxxx_xxxx_xxxx", Branch),
    ("1001_01xx_xxxx_xxxx_xxxx_xxxx_xxxx_xxxx", BranchWithLink),
    ("1101_0110_0001_1111_0000_00xx_xxx0_0000", RegisterBranch),  # BR
    ("1101_0110_0011_1111_0000_00xx_xxx0_0000", RegisterBranch),  # BLR
    ("1101_0110_0101_1111_0000_00xx_xxx0_0000", RegisterBranch),  # RET
    ("1101_0110_00x1_1111_0000_1xxx_xxx1_1111", AuthenticatedBranch),  # BRAAZ, BLRAAZ
    ("1101_0110_0101_1111_0000_1x11_111x_xxxx", AuthenticatedBranch),  # RETAA, RETAASPPCR
    ("1101_0111_00x1_1111_0000_1xxx_xxxx_xxxx", AuthenticatedBranch),  # BRAA, BLRAA
    ("1101_0110_1001_1111_0000_0011_1110_0000", ExceptionReturn),
    ("1101_0110_1001_1111_0000_1x11_1111_1111", ExceptionReturn),  # ERETAA, ERETAB
    ("1101_0100_000x_xxxx_xxxx_xxxx_xxx0_0010", HypervisorCall),  # HVC
    ("1101_0100_000x_xxxx_xxxx_xxxx_xxx0_0011", HypervisorCall),  # SMC
    ("1101_0101_0000_0011_0010_0000_0001_1111", Nop),
    ("1101_0101_0000_0011_0010_0000_0011_1111", Idle),
    ("1101_0101_0000_0011_0010_0000_01x1_1111", Wait),
    ("1101_0101_0000_0011_0010_0100_xx01_1111", BranchTarget),
    ("1101_0101_0000_0011_0010_0010_0001_1111", ErrorSynchronization),
    ("1101_0101_0000_0011_0010_xxxx_xxx1_1111", Hint),
    ("1101_0101_0000_0011_0001_0000_00xx_xxxx", WaitUntil),
    ("1101_0101_0000_0011_0011_xxxx_0101_1111", ClearExclusive),
    ("1101_0101_0000_0011_0011_xxxx_10x1_1111", Barrier),  # DSB, DMB
    ("1101_0101_0000_0011_0011_xx10_0011_1111", Barrier),  # DSB nXS
    ("1101_0101_0000_0011_0011_xxxx_1101_1111", ContextSynchronization),  # ISB
    ("1101_0101_0000_0011_0011_0000_1111_1111", ContextSynchronization),  # SB
    ("1101_0101_0000_0011_0100_xxxx_1101_1111", SetDaif),
    ("1101_0101_0000_0011_0100_xxxx_1111_1111", ClearDaif),
    ("1101_0101_0001_1011_0100_0010_001x_xxxx", WriteDaif),
    ("1101_0101_0011_1011_0100_0010_001x_xxxx", ReadDaif),
    ("1101_0101_0011_xxxx_xxxx_xxxx_xxxx_xxxx", ReadRegister),
    ("1101_0101_0000_1011_0111_0100_001x_xxxx", ZeroBlock),  # DC ZVA
    ("1101_0101_0000_1011_0111_0100_011x_xxxx", ZeroBlock),  # DC GVA
    ("1101_0101_0000_1011_0111_0100_100x_xxxx", ZeroBlock),  # DC GZVA
    # C4.1.94 Loads and stores
    ("xx00_1000_010x_xxxx_xxxx_xxxx_xxxx_xxxx", LoadExclusive),
    ("1x00_1000_011x_xxxx_xxxx_xxxx_xxxx_xxxx", LoadExclusive),  # pairs
    ("1x00_1001_010x_xxxx_xxxx_xxxx_xxxx_xxxx", LoadExclusive),  # unprivileged
    ("xx00_1000_000x_xxxx_xxxx_xxxx_xxxx_xxxx", StoreExclusive),
    ("1x00_1000_001x_xxxx_xxxx_xxxx_xxxx_xxxx", StoreExclusive),  # pairs
    ("1x00_1001_000x_xxxx_xxxx_xxxx_xxxx_xxxx", StoreExclusive),  # unprivileged
    ("0x00_1000_0x1x_xxxx_xxxx_xxxx_xxxx_xxxx", CompareAndSwapPair),
    ("0100_1001_1x0x_xxxx_xxxx_xxxx_xxxx_xxxx", CompareAndSwapPair),  # unprivileged
    ("xx00_1000_1xxx_xxxx_xxxx_xxxx_xxxx_xxxx", LoadOrdered),
    ("1x00_1001_1x0x_xxxx_xxxx_xxxx_xxxx_xxxx", LoadOrdered),  # unprivileged CAS
    ("0x00_1100_0x00_0000_xxxx_xxxx_xxxx_xxxx", LoadStructures),
    ("0x00_1100_1x0x_xxxx_xxxx_xxxx_xxxx_xxxx", LoadStructures),  # post-indexed
    ("0x00_1101_xxxx_xxxx_xxxx_xxxx_xxxx_xxxx", LoadStructure),
    ("xx01_1x00_xxxx_xxxx_xxxx_xxxx_xxxx_xxxx", LoadLiteral),
    ("xx01_1001_xx0x_xxxx_xxxx_00xx_xxxx_xxxx", LoadAcquire),
    ("xx01_1101_xx0x_xxxx_xxxx_10xx_xxxx_xxxx", LoadAcquire),  # vectors
    ("1x01_1001_0x0x_xxxx_000x_10xx_xxxx_xxxx", LoadAcquirePair),
    ("1x01_1001_1x00_0000_0000_10xx_xxxx_xxxx", LoadAcquireIndexed),
    ("0x01_1001_xx1x_xxxx_xxxx_00xx_xxxx_xxxx", AtomicPair),
    ("0x01_1001_xx1x_xxxx_0000_11xx_xxxx_xxxx", AtomicPair),  # RCWCASP
    ("0x01_1001_xx1x_xxxx_0000_10xx_xxxx_xxxx", CheckedCompareAndSwap),
    ("0x01_1001_xx1x_xxxx_xxxx_01xx_xxxx_xxxx", UnprivilegedAtomic),
    ("1101_1001_xx1x_xxxx_xxxx_xxxx_xxxx_xxxx", StoreTags),
    ("xx10_1x0x_xxxx_xxxx_xxxx_xxxx_xxxx_xxxx", LoadPair),
    ("xx11_1x01_xxxx_xxxx_xxxx_xxxx_xxxx_xxxx", LoadUnsigned),
    ("xx11_1x00_xx0x_xxxx_xxxx_xxxx_xxxx_xxxx", LoadSigned),
    ("xx11_1x00_xx1x_xxxx_x1xx_10xx_xxxx_xxxx", LoadRegister),
    ("xx11_1000_xx1x_xxxx_xxxx_00xx_xxxx_xxxx", Atomic),
    ("xxxx_1x0x_xxxx_xxxx_xxxx_xxxx_xxxx_xxxx", Computation),
    # C4.1.95 Data processing -- register; C4.1.96 Scalar floating-point and Advanced SIMD; SVE
    ("x010_1010_000x_xxxx_0000_0011_111x_xxxx", MoveRegister),
    ("xxxx_101x_xxxx_xxxx_xxxx_xxxx_xxxx_xxxx", Computation),
    ("xxxx_111x_xxxx_xxxx_xxxx_xxxx_xxxx_xxxx", Computation),
    ("xxx0_010x_xxxx_xxxx_xxxx_xxxx_xxxx_xxxx", Computation),
)


class Encoding(NamedTuple):
    """A row of the table: the words whose bits under ``mask`` are those of ``pattern``."""

    mask: int
    pattern: int
    instruction: type[Instruction]


def _encodings(table: Iterable[tuple[str, type[Instruction]]]) -> Iterable[Encoding]:
    """Make masks and patterns of bits as text."""
    for text, instruction in table:
        bits = text.replace("_", "")
        mask = int(bits.replace("0", "1").replace("x", "0"), 2)
        yield Encoding(mask, int(bits.replace("x", "0"), 2), instruction)


#: In order: of two encodings that a word fits, the first is right.
ENCODINGS: Final = tuple(_encodings(_TABLE))

# Bits 28 to 25 choose the main group (C4.1), and so the rows that need be tried.
_GROUP: Final = 25


def _of_group(group: int) -> tuple[Encoding, ...]:
    """Return the rows that a word of the main group *group* may fit, in order."""
    bits, under = group << _GROUP, 0xF << _GROUP
    return tuple(row for row in ENCODINGS if not (row.pattern ^ bits) & row.mask & under)


_GROUPS: Final = tuple(_of_group(group) for group in range(16))


@lru_cache(maxsize=8192)
def decode(word: int) -> Instruction:
    """Return *word* as the class of instructions that it belongs to.

    That is ``Instruction`` itself if no row of the table fits.
    """
    for mask, pattern, instruction in _GROUPS[word >> _GROUP & 0xF]:
        if word & mask == pattern:
            return int.__new__(instruction, word)  # in half the time of Word's own
    return Instruction(word)
