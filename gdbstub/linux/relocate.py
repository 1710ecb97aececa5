"""Position-independent AArch64 ELF files, moved to an address and relocated as a loader does it.

Only relocations that need no symbols are applied: a static program has no others.
Sources: gABI 4, "Dynamic Section"; ELF for the Arm 64-bit Architecture, "Dynamic relocations".
"""

import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise, takewhile
from typing import Final

from gdbstub.errors import InputError
from gdbstub.linux import elf
from gdbstub.linux.elf import Executable, Segment

#: A page of the smallest granule: ADRP counts in these, so a program moves by whole ones.
PAGE: Final = 4096

#: Elf64_Dyn: d_tag, d_un. Elf64_Rela: r_offset, r_info (symbol and type), r_addend.
_DYN: Final = struct.Struct("<qQ")
_RELA: Final = struct.Struct("<QIIQ")
_DT_NULL, _DT_PLTRELSZ, _DT_RELA, _DT_RELASZ, _DT_RELSZ = 0, 2, 7, 8, 18
_DT_JMPREL, _DT_RELRSZ = 23, 35
_NONE: Final = (0, 256)
_RELATIVE: Final = 1027
_MASK: Final = (1 << 64) - 1


def parse(data: bytes, name: str, *, address: int | None, default: int, memory: int) -> Executable:
    """Check the position-independent ELF file *data*, move it to *address*, and relocate it.

    *address* is where its first segment begins. None: where that was linked, or at *default* if
    that is higher. The file may not span more than *memory* bytes.

    Raises:
        InputError: it is not a static AArch64 ELF file, or cannot be moved there.
    """
    linked = elf.parse_linked(data, name)
    segments = sorted(linked.segments, key=lambda segment: segment.vaddr)
    for one, other in pairwise(segments):
        if one.vaddr + one.memsz > other.vaddr:
            raise InputError(f"{name}: its segments overlap at {other.vaddr:#x}")
    start = segments[0].vaddr
    # What is copied below is bounded by this: no two segments share an address.
    if (span := segments[-1].vaddr + segments[-1].memsz - start) > memory:
        raise InputError(f"{name}: spans {span:#x} bytes of addresses, more than --memory")
    headers = list(elf.program_headers(data, name))
    alignment = max(PAGE, *(row[-1] for row in headers))
    if alignment & alignment - 1:
        raise InputError(f"{name}: a segment is aligned to {alignment:#x}, which is no power of 2")
    offset = _offset(name, start, address, default, alignment)
    at, size = next(((row[1], row[4]) for row in headers if row[0] == elf.PT_DYNAMIC), (0, 0))
    moved = _relocated(name, segments, data[at : at + size], offset)
    entry = elf.entry_of(data)
    if entry % 4 or not any(s.vaddr <= entry < s.vaddr + s.memsz for s in segments):
        raise InputError(f"{name}: the entry point {entry:#x} is in none of its segments")
    return Executable(name, moved, data, entry, entry + offset, offset)


def _offset(name: str, start: int, address: int | None, default: int, alignment: int) -> int:
    """Return the distance by which a file moves that was linked to begin at *start*."""
    if address is None:
        return -(-max(0, default - start) // alignment) * alignment
    if (offset := address - start) < 0 or offset % alignment:
        raise InputError(
            f"--load {address:#x}: {name} moves up by a multiple of {alignment:#x} from "
            f"{start:#x}, where it was linked"
        )
    return offset


def _relocated(
    name: str, segments: Sequence[Segment], dynamic: bytes, offset: int
) -> tuple[Segment, ...]:
    """Return *segments* moved by *offset*, with the relocations that *dynamic* names applied."""
    starts = [segment.vaddr for segment in segments]
    copies: dict[int, bytearray] = {}
    for gva, addend in _relocations(name, segments, dynamic):
        index = bisect_right(starts, gva) - 1
        at = gva - starts[index]
        if index < 0 or at + 8 > len(segments[index].data):
            raise InputError(f"{name}: has a relocation at {gva:#x}, which is in no segment")
        if index not in copies:
            copies[index] = bytearray(segments[index].data)
        copies[index][at : at + 8] = (addend + offset & _MASK).to_bytes(8, "little")
    return tuple(
        segment._replace(
            paddr=segment.vaddr + offset,
            data=memoryview(copies[index]) if index in copies else segment.data,
        )
        for index, segment in enumerate(segments)
    )


def _relocations(
    name: str, segments: Sequence[Segment], dynamic: bytes
) -> Iterator[tuple[int, int]]:
    """Give the address and the addend of each relative relocation."""
    whole = len(dynamic) // _DYN.size * _DYN.size
    rows = takewhile(lambda row: row[0] != _DT_NULL, _DYN.iter_unpack(dynamic[:whole]))
    values = dict(rows)
    if values.get(_DT_RELSZ):
        raise InputError(f"{name}: has relocations without addends (DT_REL); expected DT_RELA")
    if values.get(_DT_RELRSZ):
        # Each adds to what is there, so a program that relocates itself would be moved twice.
        raise InputError(
            f"{name}: has packed relocations (DT_RELR); link it with -z nopack-relative-relocs"
        )
    for table, size in ((_DT_RELA, _DT_RELASZ), (_DT_JMPREL, _DT_PLTRELSZ)):
        if values.get(size):
            yield from _rows(name, segments, values.get(table, 0), values[size])


def _rows(
    name: str, segments: Sequence[Segment], table: int, size: int
) -> Iterator[tuple[int, int]]:
    """Yield the relocations of one table, which has *size* bytes."""
    for segment in segments:
        at = table - segment.vaddr
        if 0 <= at and at + size <= len(segment.data):
            break
    else:
        raise InputError(f"{name}: its relocations at {table:#x} are in no segment")
    rows = segment.data[at : at + size // _RELA.size * _RELA.size]
    for gva, kind, symbol, addend in _RELA.iter_unpack(rows):
        if kind == _RELATIVE and not symbol:
            yield gva, addend
        elif kind not in _NONE:
            raise InputError(
                f"{name}: has a relocation of type {kind} at {gva:#x}; expected only "
                f"R_AARCH64_RELATIVE ({_RELATIVE}): link it by -static-pie"
            )
