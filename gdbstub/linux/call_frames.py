"""Frames of AArch64 functions, found in their instructions, where no file describes them.

A kernel's functions keep frame records, and each sets up its frame the way a compiler does. So it
can be told at each instruction where the caller's registers are. Source: AAPCS64, "The Frame
Pointer"; Arm ARM C4.1 (encodings); linux/arch/arm64/kernel/entry.S (records of exceptions).
"""

import re
from collections.abc import Callable, Iterator, MutableMapping
from typing import Final, NamedTuple

from gdbstub.aarch64.bits import Bits, SignedOperand, Word

_FP, _LR, _SP = 29, 30, 31
#: The first register that a function saves for its caller.
_SAVED: Final = 19


class Frame(NamedTuple):
    """Places of the caller's registers, at one instruction.

    The canonical frame address (CFA), the SP before the call, is ``sp`` above the SP, and ``fp``
    above x29 where that is this function's; None: not known. ``saved`` has the distance below the
    CFA of each register that is in memory, and ``records`` that of each pair that may become a
    frame record, with True if it is empty. ``ends`` is true if there is no caller, or x30 is not
    its address any more.
    """

    sp: int | None = 0
    fp: int | None = None
    saved: tuple[tuple[int, int], ...] = ()
    records: tuple[tuple[int, bool], ...] = ()
    ends: bool = False

    @property
    def cfa(self) -> tuple[int, int] | None:
        """The register that the CFA is above, and how far; None if it cannot be told."""
        if self.fp is not None:
            return _FP, self.fp
        return None if self.sp is None else (_SP, self.sp)


class _Immediate(Word):
    """ADD and SUB (immediate) of 64 bits."""

    op = Bits(30)
    sh = Bits(22)
    imm12 = Bits(21, 10)
    Rn = Bits(9, 5)
    Rd = Bits(4, 0)


class _Pair(Word):
    """STP and LDP of 64-bit registers."""

    index = Bits(24, 23)
    L = Bits(22)
    imm7 = SignedOperand(21, 15)
    Rt2 = Bits(14, 10)
    Rn = Bits(9, 5)
    Rt = Bits(4, 0)


class _Single(Word):
    """STR and LDR of a 64-bit register, with the offset ``imm12`` or indexed by ``imm9``."""

    unsigned = Bits(24)
    opc = Bits(23, 22)
    imm12 = Bits(21, 10)
    imm9 = SignedOperand(20, 12)
    index = Bits(11, 10)
    Rn = Bits(9, 5)
    Rt = Bits(4, 0)


class _Jump(Word):
    """Branches with an offset, in instructions."""

    imm26 = SignedOperand(25, 0)
    imm19 = SignedOperand(23, 5)
    imm14 = SignedOperand(18, 5)


#: Ways of addressing, as the index of LDP and STP has them.
_POST, _OFFSET, _PRE = 1, 2, 3
#: Bits that x29 and SP have as operands, and no other register but these two has.
_BASE: Final = 0b11101


def _add(frame: Frame, word: int) -> Frame:
    if word & _BASE != _BASE or word >> 5 & _BASE != _BASE:
        return frame
    it = _Immediate(word)
    base = frame.sp if it.Rn == _SP else frame.fp
    amount = it.imm12 << 12 * it.sh
    distance = None if base is None else base + (amount if it.op else -amount)
    if it.Rd == _SP:
        return frame._replace(sp=distance)
    records = dict(frame.records)
    if distance is None or distance not in records:
        return frame._replace(fp=None)
    # That of an exception has the address where it was taken, and an empty one is the last.
    saved = dict(frame.saved) | {_FP: distance, _LR: distance - 8}
    ends = frame.ends or records[distance]
    return frame._replace(fp=distance, saved=tuple(saved.items()), ends=ends)


def _computed(frame: Frame, word: int) -> Frame:
    """Follow ADD and SUB (extended register) and AND (immediate), which may write SP."""
    if word & _SP == _SP and (word >> 24 == _AND or word & _EXTENDED):
        return frame._replace(sp=None)
    return frame


def _pair(frame: Frame, word: int) -> Frame:
    if word >> 5 & _BASE != _BASE:
        return frame
    it = _Pair(word)
    return _access(frame, it.index, it.L, 8 * it.imm7, it.Rn, [it.Rt, it.Rt2])


def _single(frame: Frame, word: int) -> Frame:
    if word >> 5 & _BASE != _BASE:
        return frame
    it = _Single(word)
    if it.opc > 1:  # of a vector, or a prefetch
        return frame
    if it.unsigned:
        return _access(frame, _OFFSET, it.opc, 8 * it.imm12, it.Rn, [it.Rt])
    if it.index not in (_POST, _PRE):
        return frame
    return _access(frame, it.index, it.opc, it.imm9, it.Rn, [it.Rt])


def _access(
    frame: Frame, index: int, load: int, offset: int, base: int, registers: list[int]
) -> Frame:
    """Follow a load or store of *registers* by x29 or SP, the *base*."""
    distance = frame.sp if base == _SP else frame.fp
    if distance is None or not index:
        return frame
    first = distance if index == _POST else distance - offset
    frame = _loaded(frame, first, registers) if load else _stored(frame, first, registers)
    if index == _OFFSET or base != _SP:
        return frame
    return frame._replace(sp=distance - offset)


def _loaded(frame: Frame, first: int, registers: list[int]) -> Frame:
    saved = dict(frame.saved)
    for number, register in enumerate(registers):
        if saved.get(register) == first - 8 * number:
            del saved[register]
    if len(saved) == len(frame.saved):
        return frame
    return frame._replace(saved=tuple(saved.items()), fp=frame.fp if _FP in saved else None)


def _stored(frame: Frame, first: int, registers: list[int]) -> Frame:
    saved = dict(frame.saved)
    for number, register in enumerate(registers):
        if _SAVED <= register <= _LR and first - 8 * number > 0:
            saved.setdefault(register, first - 8 * number)
    if len(saved) > len(frame.saved):
        frame = frame._replace(saved=tuple(saved.items()))
    if len(registers) == 2 and (registers[0] == _FP or registers == [_SP, _SP]):  # XZR
        frame = frame._replace(records=(*frame.records, (first, registers[0] == _SP)))
    return frame


_AND: Final = 0x92
_EXTENDED: Final = 1 << 21
#: Instructions' effects on the frame, by the upper 8 bits of their words.
_EFFECTS: Final[dict[int, Callable[[Frame, int], Frame]]] = {
    0x91: _add, 0xD1: _add, 0xA8: _pair, 0xA9: _pair, 0xF8: _single, 0xF9: _single,
    0x8B: _computed, 0xCB: _computed, _AND: _computed,
}  # fmt: skip
#: Branches, and the fields with their offsets.
_BRANCHES: Final = (
    dict.fromkeys((0x54, 0x34, 0x35, 0xB4, 0xB5), "imm19")
    | dict.fromkeys((0x36, 0x37, 0xB6, 0xB7), "imm14")
    | dict.fromkeys(range(0x14, 0x18), "imm26")
)
_CALLS: Final = frozenset(range(0x94, 0x98))
#: BR, BLR, RET and ERET, with those that authenticate.
_REGISTER_BRANCHES: Final = 0xD6
_BLR: Final = (0xFFFF_FC1F, 0xD63F_0000)
_RETURNS: Final = frozenset((0xD65F03C0, 0xD65F0BFF, 0xD65F0FFF, 0xD69F03E0))
#: The upper bytes of words that are looked at.
_LOOKED_AT: Final = re.compile(
    b"[%b]" % re.escape(bytes((*_EFFECTS, *_BRANCHES, *_CALLS, _REGISTER_BRANCHES)))
)


def frames(
    code: memoryview, gva: int, first: Frame, elsewhere: MutableMapping[int, Frame]
) -> Iterator[tuple[int, Frame]]:
    """Yield the frame at the start of the function at *gva*, *first*, and each change of it.

    With each comes the number of the first instruction of *code* that it is for. *elsewhere* is
    given the frame at each address outside that the function branches to: parts of it may be there.
    """
    words, end = code.cast("I"), gva + len(code)
    arriving = dict[int, Frame]()
    frame = body = first
    yield 0, first
    for match in _LOOKED_AT.finditer(code[3::4].tobytes()):
        number = match.start()
        word, before = words[number], frame
        top, ends = word >> 24, False
        if (effect := _EFFECTS.get(top)) is not None:
            frame = effect(frame, word)
            if frame.fp is not None and len(frame.saved) >= len(body.saved):
                body = frame
        elif (kind := _BRANCHES.get(top)) is not None:
            offset: int = getattr(_Jump(word), kind)
            target = gva + 4 * (number + offset)
            (arriving if gva <= target < end else elsewhere).setdefault(target, frame)
            ends = kind == "imm26"
        elif word in _RETURNS:
            ends = True
        elif (top in _CALLS or word & _BLR[0] == _BLR[1]) and not frame.saved:
            frame = frame._replace(ends=True)  # x30 is overwritten
        if ends:
            frame = arriving.get(gva + 4 * (number + 1), body)
        if frame is not before:
            yield number + 1, frame
