"""The bytes that a load or store accesses, from its word and the registers.

Nothing is executed. Instructions with several places (MOPS), with authenticated addresses, of SVE
and those that maintain caches are not among those known. Source: Arm ARM C4.1.94 "Loads and
Stores".
"""

from collections.abc import Callable
from typing import Final

from gdbstub.aarch64.a64 import ZeroBlock
from gdbstub.aarch64.decoder import decode
from gdbstub.aarch64.loads_stores import (
    Atomic,
    AtomicPair,
    CheckedCompareAndSwap,
    LoadAcquire,
    LoadAcquireIndexed,
    LoadAcquirePair,
    LoadLiteral,
    LoadPair,
    LoadRegister,
    LoadSigned,
    LoadSingle,
    LoadStructure,
    LoadStructures,
    LoadUnsigned,
    StoreTags,
    Synchronizing,
    UnprivilegedAtomic,
)
from gdbstub.aarch64.mte import GRANULE
from gdbstub.aarch64.sysreg import DCZID

#: A general register's value by number; 31 is the stack pointer.
Xn = Callable[[int], int]

#: A source of DCZID_EL0; None where that is not known.
ZeroId = Callable[[], int | None]

_TOP: Final = (1 << 64) - 1
_ZERO: Final = 31

#: An address, and a size in bytes; no size if the encoding is not allocated.
_Found = tuple[int, int | None]


def accessed(word: int, pc: int, x: Xn, dczid: ZeroId = lambda: None) -> range | None:
    """Return the addresses that *word* at *pc* accesses; None if they are not known.

    They may carry a tag. The range is empty for a prefetch. *dczid* is called for what stores a
    block of DC ZVA's size.
    """
    found = _found(word, pc, x, dczid)
    if found is None or found[1] is None:
        return None
    start, size = found[0] & _TOP, found[1]
    return range(start, start + size)


def _found(word: int, pc: int, x: Xn, dczid: ZeroId) -> _Found | None:
    match decode(word):
        case LoadSingle() as i:
            return _single(i, x)
        case LoadPair() as i:
            return _pair(i, x)
        case LoadLiteral() as i:
            return pc + 4 * i.imm19, _LITERALS[i.V][i.opc]
        case Synchronizing() as i:
            return x(i.Rn), i.length
        case Atomic() as i:
            return x(i.Rn), _atomic_size(i)
        case LoadStructures() as i:
            return x(i.Rn), _structures_size(i)
        case LoadStructure() as i:
            return x(i.Rn), _structure_size(i)
        case LoadAcquirePair() as i:
            size = 2 << i.size
            return x(i.Rn) - (0 if i.L or i.still else size), size
        case LoadAcquireIndexed() as i:
            size = 1 << i.size
            return x(i.Rn) - (0 if i.L else size), size
        case AtomicPair() as i:
            return x(i.Rn), 16
        case CheckedCompareAndSwap() as i:
            return x(i.Rn), 8
        case UnprivilegedAtomic() as i:
            return x(i.Rn), 4 << i.sz
        case StoreTags() as i:
            return _tags(i, x)
        case ZeroBlock() as i:
            return _block(i, x, dczid())
    return None


# By V and opc; 0 is a prefetch.
_LITERALS: Final = ((4, 8, 4, 0), (4, 8, 16, None))

#: Size of a register in a pair, by V and opc, of which LDTP has 3.
_PAIRS: Final = ((4, 4, 8, 8), (4, 8, 16, 16))
_POST_INDEX: Final = 1


def _pair(i: LoadPair, x: Xn) -> _Found | None:
    size = scale = _PAIRS[i.V][i.opc]
    if not i.V and i.opc == 1 and (not i.L or not i.mode):
        if not i.mode:
            return None  # not allocated
        size, scale = 8, GRANULE  # STGP, which writes a tag besides
    offset = 0 if i.mode == _POST_INDEX else i.imm7 * scale
    return x(i.Rn) + offset, 2 * size


def _tags(i: StoreTags, x: Xn) -> _Found | None:
    if not i.mode:
        return None  # of as many granules as the CPU likes; LDG, which accesses no data
    offset = 0 if i.mode == _POST_INDEX else i.imm9 * GRANULE
    return x(i.Rn) + offset, GRANULE << (i.opc >> 1)


def _block(i: ZeroBlock, x: Xn, dczid: int | None) -> _Found | None:
    if dczid is None:
        return None
    size = 4 << DCZID(dczid).BS
    return (0 if i.Rt == _ZERO else x(i.Rt)) & -size, size


# LoadSigned.mode; pre-index, 3, is no special case.
_UNSCALED, _POST, _UNPRIVILEGED = 0, 1, 2


def _single(i: LoadSingle, x: Xn) -> _Found:
    base = x(i.Rn)
    scale, size = _scale(i)
    match i:
        case LoadUnsigned():
            return base + (i.imm12 << scale), size
        case LoadSigned():
            if (size == 0 and i.mode != _UNSCALED) or (i.V and i.mode == _UNPRIVILEGED):
                size = None
            return base + (0 if i.mode == _POST else i.imm9), size
        case LoadRegister():
            offset = 0 if i.Rm == _ZERO else _extended(x(i.Rm), i.option)
            return base + (offset << (scale if i.S else 0)), size
        case LoadAcquire():
            return base + i.imm9, size or None
    return base, None


def _scale(i: LoadSingle) -> tuple[int, int | None]:
    """Return the logarithm of the size of what *i* accesses, and the size.

    The size is 0 for a prefetch, and None if the encoding is not allocated.
    """
    if i.V:
        if i.opc < 2:
            return i.size, 1 << i.size
        return (4, 16) if i.size == 0 else (0, None)
    if i.size == 3 and i.opc >= 2:
        return 3, 0 if i.opc == 2 else None
    return i.size, None if i.size == 2 and i.opc == 3 else 1 << i.size


def _extended(value: int, option: int) -> int:
    """Return *value* extended by UXTW, LSL, SXTW or SXTX; each has bit 1 of *option* set."""
    if option & 1:
        return value
    value &= 0xFFFF_FFFF
    return value - (value >> 31 << 32) if option & 4 else value


_LDAPR, _LD64B = 0b1100, 0b1101
#: ST64B, ST64BV0, ST64BV; of smaller sizes RCWCLR, RCWSWP, RCWSET.
_ST64B: Final = (0b1001, 0b1010, 0b1011)
_ACQUIRE: Final = 0b10


def _atomic_size(i: Atomic) -> int | None:
    if i.opcode <= 0b1000:  # LDADD to LDUMIN, SWP
        return 1 << i.size
    if i.opcode == _LDAPR:
        return 1 << i.size if i.ordering == _ACQUIRE else None
    if i.opcode in _ST64B and i.size < 2:
        return 8
    if i.opcode in (_LD64B, *_ST64B) and i.size == 3 and not i.ordering:
        return 64
    return None


#: Registers by opcode, as many as there are structures' elements times repetitions.
_STRUCTURES: Final = {0: 4, 2: 4, 4: 3, 6: 3, 7: 1, 8: 2, 10: 2}


def _structures_size(i: LoadStructures) -> int | None:
    registers = _STRUCTURES.get(i.opcode)
    return None if registers is None else registers * (16 if i.Q else 8)


def _structure_size(i: LoadStructure) -> int | None:
    registers = ((i.opcode & 1) << 1 | i.R) + 1
    match i.opcode >> 1:
        case 3:
            return registers << i.size if i.L else None  # all lanes: LD1R to LD4R
        case 2:
            return registers * 4 << (i.size & 1) if i.size < 2 else None
        case scale:
            return registers << scale
