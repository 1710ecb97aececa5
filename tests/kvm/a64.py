"""The next PC after an instruction: an independent oracle (Arm ARM C4.1, C6.2).

It imports nothing, since gdb's Python runs it, too. Exceptions are not its business.
"""

from collections.abc import Callable

MASK = (1 << 64) - 1

#: The value of x0 to x30 by number.
Read = Callable[[int], int]


def signed(word: int, low: int, bits: int) -> int:
    """A field of words, as a distance in bytes."""
    field = word >> low & (1 << bits) - 1
    return (field - (1 << bits) if field >> bits - 1 else field) * 4


def holds(condition: int, cpsr: int) -> bool:
    """Return True if NZCV meets a condition (C1.2.4)."""
    n, z, c, v = (cpsr >> bit & 1 for bit in (31, 30, 29, 28))
    met = (z, c, n, v, c & ~z, n == v, n == v and not z, True)[condition >> 1]
    return bool(met) != (condition & 1 == 1 and condition != 0b1111)


def without_code(gva: int) -> int:
    """A 48-bit address without its pointer authentication code."""
    return gva | 0xFFFF << 48 if gva >> 55 & 1 else gva & (1 << 48) - 1


def following(pc: int, word: int, cpsr: int, x: Read) -> int:
    """The address after *word* at *pc*, if it takes no exception and returns from none."""

    def register(number: int) -> int:
        return 0 if number == 31 else x(number)

    taken = pc
    if word >> 26 & 0x1F == 0b00101:  # B, BL
        taken = pc + signed(word, 0, 26)
    elif word >> 24 == 0x54:  # B.cond
        taken = pc + signed(word, 5, 19) if holds(word & 0xF, cpsr) else pc + 4
    elif word >> 25 & 0x3F == 0b011010:  # CBZ, CBNZ
        value = register(word & 31) & (MASK if word >> 31 else 0xFFFF_FFFF)
        taken = pc + signed(word, 5, 19) if bool(value) == bool(word >> 24 & 1) else pc + 4
    elif word >> 25 & 0x3F == 0b011011:  # TBZ, TBNZ
        bit = register(word & 31) >> (word >> 31 << 5 | word >> 19 & 31) & 1
        taken = pc + signed(word, 5, 14) if bit == word >> 24 & 1 else pc + 4
    elif word >> 25 == 0b1101011 and not word >> 21 & 0b0100:  # BR, BLR, RET
        authenticated = word >> 11 & 1
        number = 30 if authenticated and word >> 21 & 0xF == 0b0010 else word >> 5 & 31
        taken = without_code(x(number)) if authenticated else x(number)
    else:
        taken = pc + 4
    return taken & MASK
