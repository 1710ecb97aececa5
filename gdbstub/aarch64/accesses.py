"""Which bytes a load or store accesses, from its word and the registers.

It executes nothing and knows no vector-length agnostic instruction. Source: Arm ARM C4.1.94
"Loads and Stores".
"""

from collections.abc import Callable

#: A general register's value by number; 31 is the stack pointer.
Xn = Callable[[int], int]

_TOP = (1 << 64) - 1


def accessed(word: int, pc: int, x: Xn) -> range | None:
    """The addresses that *word* at *pc* accesses; None if that is not known.

    They may carry a tag, and may be empty for a prefetch.
    """
    if word & 0x0A00_0000 != 0x0800_0000:
        return None
    match word >> 27 & 7, word >> 24 & 3:
        case 0b001, 0b00 if word >> 26 & 1:
            found = _structures(word, x)
        case 0b001, 0b01 if word >> 26 & 1:
            found = _structure(word, x)
        case 0b001, 0b00:
            found = _exclusive(word, x)
        case 0b011, 0b00:
            found = _literal(word, pc)
        case 0b011, 0b01 if not word >> 26 & 1 and word & 0x0020_0C00 == 0:
            found = (x(word >> 5 & 31) + _signed(word >> 12, 9), 1 << (word >> 30))
        case 0b101, _:
            found = _pair(word, x)
        case 0b111, _:
            found = _single(word, x)
        case _:
            found = None
    if found is None:
        return None
    start, size = found
    start &= _TOP
    return range(start, start + size)


Found = tuple[int, int] | None  # an address and a size in bytes


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (value >> bits - 1 << bits)


def _exclusive(word: int, x: Xn) -> Found:
    """LDXR, STXR, their pairs, LDAR, STLR, CAS, CASP."""
    size, ordered, pair = word >> 30, word >> 23 & 1, word >> 21 & 1
    if pair and not ordered:
        # Pairs: exclusive with bit 31, compare-and-swap without.
        return x(word >> 5 & 31), 2 * (4 << (size & 1))
    return x(word >> 5 & 31), 1 << size


def _literal(word: int, pc: int) -> Found:
    """LDR (literal), LDRSW, PRFM."""
    opc = word >> 30
    sizes = (4, 8, 16, 0) if word >> 26 & 1 else (4, 8, 4, 0)
    return pc + 4 * _signed(word >> 5, 19), sizes[opc]


def _pair(word: int, x: Xn) -> Found:
    """LDP, STP, LDNP, STNP, LDPSW, STGP."""
    opc, vector, mode = word >> 30, word >> 26 & 1, word >> 23 & 3
    if vector:
        element = 4 << opc
    elif opc == 1 and not word >> 22 & 1:
        return None  # STGP, which writes a tag besides
    else:
        element = 8 if opc == 2 else 4
    offset = 0 if mode == 1 else _signed(word >> 15, 7) * element
    return x(word >> 5 & 31) + offset, 2 * element


def _single(word: int, x: Xn) -> Found:
    """LDR, STR and their kin of every size and addressing mode; atomic operations."""
    size, vector = word >> 30, word >> 26 & 1
    base = x(word >> 5 & 31)
    if vector and size == 0 and word >> 23 & 1:
        size = 4
    prefetch = not vector and size == 3 and word >> 22 & 3 == 2
    if word >> 24 & 1:
        return base + ((word >> 10 & 0xFFF) << size), 0 if prefetch else 1 << size
    mode = word >> 10 & 3
    if not word >> 21 & 1:  # unscaled, post-indexed, unprivileged, pre-indexed
        prefetch = prefetch and mode == 0
        return base + (0 if mode == 1 else _signed(word >> 12, 9)), 0 if prefetch else 1 << size
    if mode == 2:
        offset = _extended(x(word >> 16 & 31) if word >> 16 & 31 != 31 else 0, word >> 13 & 7)
        shift = size if word >> 12 & 1 else 0
        return base + (offset << shift), 0 if prefetch else 1 << size
    if mode == 0 and not vector:
        # LD64B and its kin share the space of the atomic operations.
        return (
            (base, 64) if size == 3 and word >> 12 & 0xF in (9, 10, 11, 13) else (base, 1 << size)
        )
    return None  # LDRAA, LDRAB: the address is authenticated first


def _extended(value: int, option: int) -> int:
    if option & 3 == 2:
        value &= 0xFFFF_FFFF
        return _signed(value, 32) if option & 4 else value
    return value


def _structures(word: int, x: Xn) -> Found:
    """LD1 to LD4, ST1 to ST4 (multiple structures)."""
    registers = {0: 4, 2: 4, 4: 3, 6: 3, 7: 1, 8: 2, 10: 2}.get(word >> 12 & 0xF)
    if registers is None:
        return None
    return x(word >> 5 & 31), registers * (16 if word >> 30 & 1 else 8)


def _structure(word: int, x: Xn) -> Found:
    """LD1 to LD4, ST1 to ST4 (single structure), LD1R to LD4R."""
    opcode = word >> 13 & 7
    count = ((opcode & 1) << 1 | word >> 21 & 1) + 1
    match opcode >> 1:
        case 3:
            element = 1 << (word >> 10 & 3)
        case 2:
            element = 8 if word >> 10 & 1 else 4
        case scale:
            element = 1 << scale
    return x(word >> 5 & 31), count * element
