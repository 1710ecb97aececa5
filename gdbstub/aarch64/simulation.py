"""What a few instructions do that touch no memory, as an effect from values to values.

What a breakpoint is on can so be done without taking it out. Only what is exact whatever the state
is done here: not calls and returns, which a guarded control stack takes part in (FEAT_GCS).
Source: Arm ARM C6.2 "Alphabetical list of A64 base instructions".
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from gdbstub.aarch64.sysreg import PSTATE

#: A general register's value by its number; 31 is the stack pointer.
ReadX = Callable[[int], int]

_TOP: Final = 1 << 64
_WIDE: Final = 1 << 31  # sf: 64 bits
_SP: Final = 31


class Effect(NamedTuple):
    """Where the PC goes, and what a register becomes, by its number; 31 is the stack pointer."""

    pc: int
    register: int | None = None
    value: int = 0


def effect(word: int, pc: int, pstate: PSTATE, x: ReadX) -> Effect | None:
    """What *word* at *pc* comes to; None where it is none of these, or might be an exception."""
    if pstate.BTYPE or pstate.IL:
        return None
    for mask, pattern, rule in _RULES:
        if word & mask == pattern:
            found = rule(word, pc, pstate, x)
            return found if found and _is_place(found.pc) else None
    return None


def _is_place(pc: int) -> bool:
    """Whether an instruction may be at *pc*, whose top byte nothing then changes."""
    return pc >> 55 in (0, 0x1FF)


def _signed(value: int, bits: int) -> int:
    return value - (value >> bits - 1 << bits)


def _offset(word: int, low: int, bits: int) -> int:
    """A branch's offset, in bytes."""
    return 4 * _signed(word >> low & (1 << bits) - 1, bits)


def _x(x: ReadX, number: int) -> int:
    """A register's value where 31 is the zero register."""
    return 0 if number == _SP else x(number)


def _next(pc: int, word: int, register: int, value: int) -> Effect:
    """Go on behind; *register*, where 31 is nothing, becomes *value* in the width of *word*."""
    if register == _SP:
        return Effect(pc + 4)
    return Effect(pc + 4, register, value % (_TOP if word & _WIDE else 1 << 32))


def _b(word: int, pc: int, pstate: PSTATE, x: ReadX) -> Effect:
    return Effect((pc + _offset(word, 0, 26)) % _TOP)


def _b_cond(word: int, pc: int, pstate: PSTATE, x: ReadX) -> Effect:
    taken = _holds(word & 0xF, pstate)
    return Effect((pc + (_offset(word, 5, 19) if taken else 4)) % _TOP)


def _cbz(word: int, pc: int, pstate: PSTATE, x: ReadX) -> Effect:
    value = _x(x, word & 0x1F) % (_TOP if word & _WIDE else 1 << 32)
    taken = bool(value) == bool(word & 1 << 24)
    return Effect((pc + (_offset(word, 5, 19) if taken else 4)) % _TOP)


def _tbz(word: int, pc: int, pstate: PSTATE, x: ReadX) -> Effect:
    bit = word >> 31 << 5 | word >> 19 & 0x1F
    taken = _x(x, word & 0x1F) >> bit & 1 == word >> 24 & 1
    return Effect((pc + (_offset(word, 5, 14) if taken else 4)) % _TOP)


def _adr(word: int, pc: int, pstate: PSTATE, x: ReadX) -> Effect:
    offset = _signed((word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3, 21)
    value = (pc & -0x1000) + (offset << 12) if word & _WIDE else pc + offset
    return _next(pc, _WIDE, word & 0x1F, value)


def _add(word: int, pc: int, pstate: PSTATE, x: ReadX) -> Effect:
    """ADD and SUB with an immediate; 31 is the stack pointer at both ends."""
    immediate = (word >> 10 & 0xFFF) << (12 if word & 1 << 22 else 0)
    value = x(word >> 5 & 0x1F) + (-immediate if word & 1 << 30 else immediate)
    return Effect(pc + 4, word & 0x1F, value % (_TOP if word & _WIDE else 1 << 32))


def _movn(word: int, pc: int, pstate: PSTATE, x: ReadX) -> Effect | None:
    return _move(word, pc, ~_immediate(word))


def _movz(word: int, pc: int, pstate: PSTATE, x: ReadX) -> Effect | None:
    return _move(word, pc, _immediate(word))


def _movk(word: int, pc: int, pstate: PSTATE, x: ReadX) -> Effect | None:
    kept = _x(x, word & 0x1F) & ~(0xFFFF << _shift(word))
    return _move(word, pc, kept | _immediate(word))


def _move(word: int, pc: int, value: int) -> Effect | None:
    if not word & _WIDE and _shift(word) > 16:
        return None  # not allocated
    return _next(pc, word, word & 0x1F, value)


def _immediate(word: int) -> int:
    return (word >> 5 & 0xFFFF) << _shift(word)


def _shift(word: int) -> int:
    return 16 * (word >> 21 & 3)


def _mov(word: int, pc: int, pstate: PSTATE, x: ReadX) -> Effect:
    """MOV of a register: ORR with the zero register and no shift."""
    return _next(pc, word, word & 0x1F, _x(x, word >> 16 & 0x1F))


def _holds(cond: int, pstate: PSTATE) -> bool:
    """ConditionHolds (Arm ARM J1.3.3)."""
    n, z, c, v = pstate.N, pstate.Z, pstate.C, pstate.V
    base = (z, c, n, v, c and not z, n == v, n == v and not z, True)[cond >> 1]
    return bool(base) != (cond & 1 and cond != 0xF)


_Rule = Callable[[int, int, PSTATE, ReadX], Effect | None]
_RULES: Final[tuple[tuple[int, int, _Rule], ...]] = (
    (0xFC00_0000, 0x1400_0000, _b),
    (0xFF00_0010, 0x5400_0000, _b_cond),
    (0x7E00_0000, 0x3400_0000, _cbz),  # CBZ, CBNZ
    (0x7E00_0000, 0x3600_0000, _tbz),  # TBZ, TBNZ
    (0x1F00_0000, 0x1000_0000, _adr),  # ADR, ADRP
    (0x3F80_0000, 0x1100_0000, _add),  # ADD, SUB
    (0x7F80_0000, 0x1280_0000, _movn),
    (0x7F80_0000, 0x5280_0000, _movz),
    (0x7F80_0000, 0x7280_0000, _movk),
    (0x7FE0_FFE0, 0x2A00_03E0, _mov),
)
