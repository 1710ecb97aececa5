"""The section .debug_frame for an ELF file of function symbols, by which debuggers unwind.

Return addresses may be signed: the bits that hold the signature are 1 in every address of a
kernel, so they are set. That is right with and without signatures, and needs no debugger that
knows of them. Source: DWARF 4, 6.4 "Call Frame Information"; gABI 4, "Sections".
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from gdbstub.linux.call_frames import Frame, frames

_LR, _SP = 30, 31
#: Elf64_Shdr, Elf64_Sym, and of Elf64_Ehdr: e_shoff, then e_shnum and e_shstrndx.
_SHDR: Final = struct.Struct("<IIQQQQIIQQ")
_SYMBOL: Final = struct.Struct("<IBBHQQ")
_SHOFF: Final = struct.Struct("<40xQ12xHH")
_PROGBITS, _SYMTAB = 1, 2
_NAME: Final = b".debug_frame\0"
_ALIGNED: Final = 8
#: DW_CFA and DW_OP numbers.
_ADVANCE, _OFFSET, _DEF_CFA, _SAME, _UNDEFINED = 0x40, 0x80, 0x0C, 0x08, 0x07
_OFFSET_SF, _VAL_EXPRESSION, _DEF_CFA_SF = 0x11, 0x16, 0x12
_BREG30, _CONSTS, _PLUS, _DEREF, _OR = 0x8E, 0x11, 0x22, 0x06, 0x21
_DATA: Final = -8
_TOP: Final = 1 << 64
_UPPER: Final = 1 << 63
#: Bits of an offset in the part of the addresses that kernels are in, with addresses of 48 bits:
#: for symbols that are offsets themselves.
_SIZE: Final = 47
#: Names of a function's parts that are elsewhere, and that begin with its frame in place.
_COLD: Final = ".cold"
#: The sections of code, by the symbols at their ends.
_CODE: Final = (("_stext", "_etext"), ("_sinittext", "_einittext"))


#: Rule for a register: its distance below the CFA, False where its value is lost, None where it is
#: as it was; for the CFA the register that it is above, and how far.
_Rule = tuple[int, int] | int | None
#: Number of the CFA among the registers.
_CFA: Final = -1


def _uleb(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*data, value))


def _sleb(value: int) -> bytes:
    data = bytearray()
    while not -0x40 <= value < 0x40:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*data, value & 0x7F))


class _Encoder:
    """Encoder of the frames of functions whose addresses have all bits of *upper* set."""

    def __init__(self, upper: int) -> None:
        self._set = bytes((_CONSTS, *_sleb(upper - _TOP if upper & _UPPER else upper), _OR))
        self._in_register = self._return(bytes((_BREG30, 0)))
        first = bytes((_DEF_CFA, _SP, 0)) + self._in_register
        cie = struct.pack("<IB", 0xFFFF_FFFF, 1) + bytes((0, 4, *_sleb(_DATA), _LR)) + first
        self.parts = [_padded(cie)]

    def _return(self, place: bytes) -> bytes:
        expression = place + self._set
        return bytes((_VAL_EXPRESSION, _LR, *_uleb(len(expression)))) + expression

    def add(self, gva: int, size: int, rows: Iterator[tuple[int, Frame]]) -> None:
        """Add the function at *gva*."""
        before, last, code = _rules(Frame()), 0, bytearray()
        for number, frame in rows:
            rules = _rules(frame)
            if rules == before or frame.cfa is None or 4 * number >= size:
                continue
            code += _advance(number - last)
            last = number
            for register in sorted(rules.keys() | before.keys()):
                if rules.get(register) != before.get(register):
                    code += self._rule(register, rules.get(register))
            before = rules
        self.parts.append(_padded(struct.pack("<IQQ", 0, gva, size) + code))

    def _rule(self, register: int, rule: _Rule) -> bytes:
        match rule:
            case (base, offset):
                if offset >= 0:
                    return bytes((_DEF_CFA, base, *_uleb(offset)))
                return bytes((_DEF_CFA_SF, base, *_sleb(offset // _DATA)))
            case None if register == _LR:
                return self._in_register
            case None:
                return bytes((_SAME, register))
            case False:
                return bytes((_UNDEFINED, register))
            case int() if register == _LR:
                return self._return(bytes((_CONSTS, *_sleb(-rule), _PLUS, _DEREF)))
            case int() if rule > 0:
                return bytes((_OFFSET | register, *_uleb(rule // 8)))
            case _:
                return bytes((_OFFSET_SF, register, *_sleb(rule // 8)))


def _rules(frame: Frame) -> Mapping[int, _Rule]:
    """Return the rules for registers by their numbers."""
    rules: dict[int, _Rule] = {_CFA: frame.cfa, **dict(frame.saved)}
    if frame.ends:
        rules[_LR] = False
    return rules


def _advance(delta: int) -> bytes:
    if not delta:
        return b""
    if delta < 0x40:
        return bytes((_ADVANCE | delta,))
    for opcode, form in ((2, "<BB"), (3, "<BH"), (4, "<BI")):
        if delta >> 8 * (struct.calcsize(form) - 1) == 0:
            return struct.pack(form, opcode, delta)
    raise AssertionError(delta)


def _padded(body: bytes) -> bytes:
    """Return an entry with its length, filled up by DW_CFA_nop."""
    body += bytes(-(4 + len(body)) % _ALIGNED)
    return struct.pack("<I", len(body)) + body


def _upper(gva: int) -> int:
    """Return the bits that are 1 in each address of a kernel that was linked to *gva*."""
    size = (~gva & _TOP - 1).bit_length() if gva & _UPPER else _SIZE
    return _TOP - (1 << size)


def debug_frame(
    functions: Mapping[int, str], code: Sequence[tuple[int, memoryview]], upper: int
) -> bytes:
    """Return the section for *functions*, by their addresses, in sections of *code*.

    The bits of *upper* are set in each return address.
    """
    encoder = _Encoder(upper)
    elsewhere = dict[int, Frame]()
    late = list[tuple[int, memoryview]]()
    for start, data in code:
        inside = sorted(gva for gva in functions if start <= gva < start + len(data))
        for gva, end in zip(inside, [*inside[1:], start + len(data)], strict=True):
            part = data[gva - start : end - start]
            if gva % 4 or end % 4:
                continue
            if _COLD in functions[gva]:
                late.append((gva, part))
            else:
                encoder.add(gva, len(part), frames(part, gva, Frame(), elsewhere))
    for gva, part in late:
        first = elsewhere.get(gva, Frame())
        encoder.add(gva, len(part), frames(part, gva, first, {}))
    return b"".join(encoder.parts)


def with_frames(file: bytes, upper: int | None = None) -> bytes:
    """Return an ELF file of a kernel's symbols with .debug_frame, as it is if it lacks the rest.

    The bits of *upper* are set in each return address; by default those of a kernel's addresses.
    """
    at, count, names = _SHOFF.unpack_from(file)
    headers = [_SHDR.unpack_from(file, at + n * _SHDR.size) for n in range(count)]
    symbols = list[tuple[str, int]]()
    for header in headers:
        if header[1] == _SYMTAB:
            symbols += _symbols(file, header, headers[header[6]])
    places = dict(symbols)
    ranges = [(places[a], places[b]) for a, b in _CODE if a in places and b in places]
    code = list[tuple[int, memoryview]]()
    for start, end in ranges:
        for header in headers:
            gva, offset, size = header[3:6]
            if header[1] == _PROGBITS and gva <= start < min(end, gva + size):
                data = memoryview(file)[offset:][: size & -4]
                code.append((start, data[start - gva : end - gva]))
    if not code:
        return file
    if upper is None:
        upper = _upper(code[0][0])
    section = debug_frame({gva: name for name, gva in symbols}, code, upper)
    strings = headers[names]
    table = file[strings[4] : strings[4] + strings[5]]
    place = len(file) + -len(file) % _ALIGNED
    parts = [file, bytes(place - len(file)), section]
    behind = place + len(section)
    headers[names] = (*strings[:4], behind, len(table) + len(_NAME), *strings[6:])
    headers.append((len(table), _PROGBITS, 0, 0, place, len(section), 0, 0, _ALIGNED, 0))
    end = behind + len(table) + len(_NAME)
    parts += [table, _NAME, bytes(-end % _ALIGNED)]
    parts += [_SHDR.pack(*header) for header in headers]
    result = bytearray(b"".join(parts))
    struct.pack_into("<Q", result, 40, end + -end % _ALIGNED)
    struct.pack_into("<H", result, 60, len(headers))
    return bytes(result)


def _symbols(
    file: bytes, table: tuple[int, ...], strings: tuple[int, ...]
) -> Iterator[tuple[str, int]]:
    """Yield the names of a file's symbols with their addresses."""
    names = file[strings[4] : strings[4] + strings[5]]
    for name, _, _, section, value, _ in _SYMBOL.iter_unpack(file[table[4] : table[4] + table[5]]):
        if section:
            yield names[name : names.index(b"\0", name)].decode("ascii", "replace"), value
