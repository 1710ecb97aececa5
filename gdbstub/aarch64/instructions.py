"""The few A64 instructions that a debugger must know by their words.

It decodes no more than that. Source: Arm ARM C6.2 "Alphabetical list of A64 base instructions".
"""

from collections.abc import Callable
from enum import Enum, auto
from typing import Final, NamedTuple

#: The instruction at an address; 0, which is none, where nothing can be read.
WordAt = Callable[[int], int]

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


# WFI, WFE; WFET Xt, WFIT Xt.
_WAITS: Final = frozenset({0xD503207F, 0xD503205F})
_NOP_AND_WAITS: Final = _WAITS | {0xD503201F}
_WAITS_UNTIL: Final = frozenset({0xD5031000, 0xD5031020})


def waits(word: int) -> bool:
    """Whether *word* is WFI, WFE or one of their timed kind, each of which may be a NOP."""
    return word in _WAITS or waits_until(word)


def waits_until(word: int) -> bool:
    """Whether *word* is WFET or WFIT, which only some have (FEAT_WFxT)."""
    return word & ~_REGISTER in _WAITS_UNTIL


# The values of PSTATE.BTYPE with which a hint does nothing but clear it: NOP, YIELD, and BTI
# without and with c, j, jc (Arm ARM C6.2.40 "BTI").
_BTYPES: Final = {
    0xD503201F: {0},
    0xD503203F: {0},
    0xD503241F: {0},
    0xD503245F: {0, 1, 2},
    0xD503249F: {0, 1, 3},
    0xD50324DF: {0, 1, 2, 3},
}


def does_nothing(word: int, btype: int) -> bool:
    """Whether all that *word* does is to clear PSTATE.BTYPE, which is *btype*."""
    return btype in _BTYPES.get(word, ())


# Exclusive loads and stores; without bit 31, bit 21 makes them compare-and-swap pairs.
_EXCLUSIVE: Final = 0x3FC0_0000
_PAIR, _WIDE = 1 << 21, 1 << 31


def loads_exclusive(word: int) -> bool:
    """Whether *word* is LDXR, LDAXR, LDXP or the like."""
    return word & _EXCLUSIVE == 0x0840_0000 and (not word & _PAIR or bool(word & _WIDE))


def stores_exclusive(word: int) -> bool:
    """Whether *word* is STXR, STLXR, STXP or the like."""
    return word & _EXCLUSIVE == 0x0800_0000 and (not word & _PAIR or bool(word & _WIDE))


#: How far from its load an exclusive store is looked for, in instructions.
SEQUENCE: Final = 16
_HINT_OR_BARRIER: Final = 0xFFFF_F000, 0xD503_2000, 0xD503_3000


def exclusive_exits(gva: int, word_at: WordAt) -> tuple[int, ...]:
    """Where a sequence that begins with a load-exclusive at *gva* can be left.

    The first is the instruction behind its store; the others are where branches in it lead
    to. Empty if there is no such sequence: no store, or a way on that words do not tell.
    """
    targets: list[int] = []
    for at in range(gva + 4, gva + 4 + 4 * SEQUENCE, 4):
        word = word_at(at)
        if stores_exclusive(word):
            outside = (target for target in targets if not gva <= target <= at)
            return tuple(dict.fromkeys((at + 4, *outside)))
        if (target := _branch(word, at)) is not None:
            targets.append(target)
        elif _diverts(word):
            return ()
    return ()


def _branch(word: int, at: int) -> int | None:
    """Where the conditional branch *word* at *at* leads to: B.cond, CBZ, CBNZ, TBZ, TBNZ."""
    if word & 0xFF00_0010 == 0x5400_0000 or word & 0x7E00_0000 == 0x3400_0000:
        bits = 19
    elif word & 0x7E00_0000 == 0x3600_0000:
        bits = 14
    else:
        return None
    offset = word >> 5 & (1 << bits) - 1
    return at + 4 * (offset - (offset >> bits - 1 << bits)) & (1 << 64) - 1


def _jump(word: int, at: int) -> int | None:
    """Where the branch *word* at *at* leads to, if it is B or BL."""
    if word & 0x7C00_0000 != 0x1400_0000:
        return None
    offset = word & (1 << 26) - 1
    return at + 4 * (offset - (offset >> 25 << 26)) & (1 << 64) - 1


def leads_to(word: int, at: int, gva: int, x: Callable[[int], int]) -> bool:
    """Whether *word* at *at* may go on at *gva* without an exception: the next one, or a branch.

    *x* gives a general register's value. A branch whose target takes more than that to find
    (with pointer authentication, and ERET) leads anywhere.
    """
    if gva == at + 4:
        return True
    if (target := _jump(word, at)) is not None:
        return gva == target
    if word & 0xFE00_0000 == 0xD600_0000:
        register = word >> 5 & _REGISTER
        plain = not word & 0x0180_0800 and register < 30  # BR, BLR, RET; BLR writes x30
        return gva == x(register) if plain else True
    return gva == _branch(word, at)


# Main groups of the encoding, by bits 28 to 25 (Arm ARM C4.1): all of data processing, SVE, and
# loads and stores; of branches, which share theirs with exceptions and system instructions,
# those by bits 31 to 29 that hold nothing else, and by bits 24 to 21 those of a register.
_GROUPS: Final = frozenset({2, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15})
_BRANCHES: Final = frozenset({10, 11})
_IMMEDIATE_BRANCHES: Final = frozenset({0, 1, 4, 5})
_REGISTER_BRANCHES: Final = frozenset({0, 1, 2, 8, 9})  # BR, BLR, RET; BRAA, BLRAA and so on


def plain(word: int) -> bool:
    """Whether all that *word* can change is general registers, vectors, flags, memory and the PC.

    Not so exceptions and their return, system instructions (hints and barriers too), and what
    belongs to an exclusive access.
    """
    if _computes(word):
        return True
    if word >> 25 & 0xF not in _BRANCHES:
        return False
    if word >> 29 in _IMMEDIATE_BRANCHES or word & 0xFE00_0000 == 0x5400_0000:  # B.cond
        return True
    return word & 0xFE00_0000 == 0xD600_0000 and word >> 21 & 0xF in _REGISTER_BRANCHES


def _computes(word: int) -> bool:
    """Whether *word* is a plain one that goes on behind itself."""
    # LDXR and its like, LDAR, CAS are none.
    return word >> 25 & 0xF in _GROUPS and word & 0x3F00_0000 != 0x0800_0000


#: CLREX, DSB and DMB, by op2; ISB is not among them.
_BARRIERS: Final = frozenset({2, 4, 5})


def _harmless(word: int) -> bool:
    """Whether *word* is a hint, MRS, or a barrier but ISB."""
    if word & 0xFFFF_F01F == 0xD503_301F:
        return word >> 5 & 7 in _BARRIERS
    return word & 0xFFFF_F01F == 0xD503_201F or word >> 20 == 0xD53


def keeps_code(word: int) -> bool:
    """Whether behind *word* what is fetched is what was there before, stores or not.

    A plain one does, and an exclusive access, a hint, MRS, and each barrier but ISB.
    """
    if word >> 25 & 0xF not in _BRANCHES:
        return word >> 25 & 0xF in _GROUPS
    return plain(word) or _harmless(word)


#: How many instructions of a stretch are looked at.
_LONG: Final = 1024


class Region(NamedTuple):
    """Instructions that a vCPU can be let run through: ``inside``, until it is at an exit."""

    inside: frozenset[int]
    exits: tuple[int, ...]
    loops: bool


def region(gva: int, within: range, word_at: WordAt, room: int) -> Region:
    """How far a vCPU can be let run from *gva* on, within the addresses *within*.

    An exit is where something else comes: outside, an instruction that must be looked at, one
    that goes on where a register says, or a branch that would make more exits than *room*.
    """
    inside: set[int] = set()
    ends: dict[int, None] = {}  # in order
    back: set[int] = set()
    ahead = [gva]
    while ahead:
        at = ahead.pop()
        while at not in inside:
            word = word_at(at) if at in within and len(inside) < _LONG else 0
            if not _runs_on(word):
                target = _forks(word, at)
                if target is None or len({*ends, *ahead, at + 4, target} - inside) > room:
                    ends[at] = None
                    break
                ahead.append(target)
                if target <= at:
                    back.add(target)
            inside.add(at)
            at += 4
    exits = tuple(at for at in ends if at not in inside)
    return Region(frozenset(inside), exits, not back.isdisjoint(inside))


def _runs_on(word: int) -> bool:
    """Whether *word* goes on behind itself, and does not matter whether interrupts are masked.

    A NOP may be made a branch by another vCPU while this one executes it.
    """
    if _computes(word):
        return True
    return _harmless(word) and word not in _NOP_AND_WAITS and daif_access(word) is None


def _forks(word: int, at: int) -> int | None:
    """Where the branch *word* at *at* leads to, unless it goes on behind itself.

    A B may do either: another vCPU may make a NOP of one that this one executes (static keys).
    """
    if (target := _branch(word, at)) is not None:
        return target
    return None if word >> 31 else _jump(word, at)


def _diverts(word: int) -> bool:
    """Whether *word* is, or may be, no plain instruction: a branch, an exception, a system one."""
    mask, *harmless = _HINT_OR_BARRIER
    if word & mask in harmless:
        return False
    return word & 0x1C00_0000 == 0x1400_0000 or not word
