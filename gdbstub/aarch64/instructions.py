"""The few A64 instructions that a debugger must know by their words.

It decodes no more than that. Source: Arm ARM C6.2 "Alphabetical list of A64 base instructions".
"""

from enum import Enum, auto
from typing import Final

_REGISTER: Final = 0x1F
_IMMEDIATE: Final = 0xF << 8

_ERETS: Final = frozenset({0xD69F03E0, 0xD69F0BFF, 0xD69F0FFF})  # ERET, ERETAA, ERETAB


class Daif(Enum):
    """How an instruction meets PSTATE.{D,A,I,F}."""

    READ = auto()  # MRS Xt, DAIF
    WRITE = auto()  # MSR DAIF, Xt
    SET = auto()  # MSR DAIFSet, #imm
    CLEAR = auto()  # MSR DAIFClr, #imm


_DAIF: Final = (
    (_REGISTER, 0xD53B4220, Daif.READ),
    (_REGISTER, 0xD51B4220, Daif.WRITE),
    (_IMMEDIATE, 0xD50340DF, Daif.SET),
    (_IMMEDIATE, 0xD50340FF, Daif.CLEAR),
)


def daif_access(word: int) -> tuple[Daif, int] | None:
    """How *word* meets DAIF, and its register's number or its immediate; None if it does not."""
    for operand, pattern, access in _DAIF:
        if word & ~operand == pattern:
            return access, word & _REGISTER if operand == _REGISTER else word >> 8 & 0xF
    return None


def returns_from_exception(word: int) -> bool:
    """Whether *word* is an ERET of any kind: PSTATE comes out of SPSR_EL1."""
    return word in _ERETS
