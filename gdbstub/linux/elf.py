"""AArch64 ELF files: segments and entry point, and symbols by pyelftools.

The input is bytes that the caller read. Memory is allocated for bytes that are present in the
file, never for a size that a header claims.
Source: System V Application Binary Interface (gABI 4), "Object Files" and "Program Loading".
"""

import io
import itertools
import re
import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeVar

from gdbstub.errors import InputError, excerpt

if TYPE_CHECKING:
    from mmap import mmap

    from elftools.construct.lib.container import Container

MAGIC: Final = b"\x7fELF"

#: Elf64_Ehdr: e_entry, e_phoff, e_shoff, e_phentsize, e_phnum, e_shentsize, e_shnum.
_EHDR: Final = struct.Struct("<24xQQQ4x2xHHHH2x")
#: Elf64_Phdr: p_type, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align.
_PHDR: Final = struct.Struct("<I4xQQQQQQ")
_SHDR_SIZE: Final = 64
#: Elf64_Shdr: sh_type, sh_offset, sh_size.
_SHDR: Final = struct.Struct("<4xI16xQQ24x")
#: Value of e_phnum if there are as many headers or more; section 0 has the number then.
_PN_XNUM: Final = 0xFFFF
_PT_LOAD: Final = 1
PT_DYNAMIC: Final = 2
_PT_INTERP: Final = 3
_PT_NOTE: Final = 4
_SHT_NOTE: Final = 7
#: Bytes of notes that are looked at, and places of them.
_NOTE_BYTES: Final = 1 << 16
_NOTE_PLACES: Final = 64
#: Longest name of a symbol; a hostile file can make every name as long as the file.
_NAME_LIMIT: Final = 4096
_ET_EXEC: Final = 2
_ET_DYN: Final = 3
_EM_AARCH64: Final = 183
#: Names of e_machine values that a user may give by mistake.
_MACHINES: Final = {
    2: "SPARC", 3: "x86", 8: "MIPS", 20: "PowerPC", 21: "64-bit PowerPC", 22: "S/390",
    40: "32-bit Arm", 43: "64-bit SPARC", 62: "x86-64", 183: "AArch64", 243: "RISC-V",
    247: "BPF", 258: "LoongArch",
}  # fmt: skip
_TYPES: Final = {
    1: "a relocatable object; link it into an executable first",
    3: "position-independent or shared; link it statically, with -no-pie",
    4: "a core dump",
}
#: Elf64_Sym: st_name, st_info, st_other, st_shndx, st_value, st_size.
_SYMBOL: Final = struct.Struct("<IBBHQQ")
_STT_SECTION: Final = 3
_STT_FILE: Final = 4
_STB_LOCAL: Final = 0

T = TypeVar("T")


class Segment(NamedTuple):
    """One PT_LOAD segment: ``data`` at ``paddr``, followed by zeroes up to ``memsz`` bytes."""

    paddr: int
    vaddr: int
    data: memoryview
    memsz: int

    @property
    def end(self) -> int:
        """First physical address behind the segment."""
        return self.paddr + self.memsz


class Linked:
    """Linked little-endian AArch64 ELF file with one segment or more, none of them empty."""

    def __init__(self, name: str, segments: tuple[Segment, ...], file: bytes) -> None:
        """Describe the checked bytes *file* with their *segments*; errors name it *name*."""
        self.name: Final = name
        self.segments: Final = segments
        self._file: Final = file

    @property
    def position_independent(self) -> bool:
        """True if it may run elsewhere than at its link addresses."""
        return int.from_bytes(self._file[16:18], "little") == _ET_DYN

    @cached_property
    def symbols(self) -> Mapping[str, int]:
        """Virtual address of each symbol in .symtab.

        Of several symbols with one name it is the global one's, or else the first one's.

        Raises:
            InputError: the symbol table is damaged.
        """
        return _guarded(self.name, lambda: _symbols(self._file, self.name))

    def find(self, *names: str) -> Mapping[str, int]:
        """Return the addresses of those *names* that are symbols, in a tenth of the time.

        Raises:
            InputError: the symbol table is damaged.
        """
        wanted = [name.encode() + b"\0" for name in names]
        found = _guarded(self.name, lambda: _symbols(self._file, self.name, wanted))
        return {name: found[name] for name in names if name in found}

    def symbol(self, name: str) -> int:
        """Return the virtual address of the symbol *name*.

        Raises:
            InputError: there is no such symbol, or the symbol table is damaged.
        """
        try:
            return self.symbols[name]
        except KeyError:
            raise InputError(f"{self.name}: has no symbol {name}") from None


class Executable(Linked):
    """Static executable: it runs ``offset`` above its link addresses, 0 unless it was moved."""

    def __init__(
        self,
        name: str,
        segments: tuple[Segment, ...],
        file: bytes,
        entry: int,
        physical_entry: int,
        offset: int = 0,
    ) -> None:
        """Describe the file with its *entry*, a link address, and the physical address of that."""
        super().__init__(name, segments, file)
        self.entry: Final = entry
        self.physical_entry: Final = physical_entry
        self.offset: Final = offset


def parse_linked(data: bytes, name: str) -> Linked:
    """Check and describe the linked ELF file *data*; it may be position-independent.

    A vmlinux may be. Errors name it *name*.

    Raises:
        InputError: it is not a complete linked little-endian AArch64 ELF file.
    """
    _check_header(data, name, (_ET_EXEC, _ET_DYN))
    return Linked(name, _loaded(data, name), data)


def parse(data: bytes, name: str) -> Executable:
    """Check and describe the static executable *data* (ELF-64, gABI 4); errors name it *name*.

    Raises:
        InputError: it is not a complete static little-endian AArch64 executable.
    """
    _check_header(data, name, (_ET_EXEC,))
    found = _loaded(data, name)
    entry = entry_of(data)
    for segment in found:
        if segment.vaddr <= entry < segment.vaddr + segment.memsz:
            physical = segment.paddr + entry - segment.vaddr
            break
    else:
        raise InputError(f"{name}: the entry point {entry:#x} is in none of its segments")
    if physical % 4:
        raise InputError(f"{name}: the entry point {entry:#x} is not a multiple of 4")
    return Executable(name, found, data, entry, physical)


def entry_of(data: bytes) -> int:
    """Return the entry point, a link address, of the checked file *data*."""
    (entry, *_) = _EHDR.unpack_from(data)
    return int(entry)


def _check_header(data: bytes, name: str, kinds: Collection[int]) -> None:
    if not data.startswith(MAGIC):
        raise InputError(f"{name}: is not an ELF file")
    if len(data) < _EHDR.size:
        raise InputError(f"{name}: is truncated: {len(data)} bytes hold no ELF header")
    order: Literal["big", "little"] = "big" if data[5] == 2 else "little"
    machine = int.from_bytes(data[18:20], order)
    if machine != _EM_AARCH64:
        machine_name = _MACHINES.get(machine, f"machine {machine}")
        raise InputError(f"{name}: is an ELF for {machine_name}; expected AArch64")
    if order == "big":
        raise InputError(f"{name}: is a big-endian ELF; expected little-endian AArch64")
    if data[4] != 2:
        raise InputError(f"{name}: is a 32-bit (ILP32) ELF; expected 64-bit AArch64")
    kind = int.from_bytes(data[16:18], "little")
    if kind not in kinds:
        what = _TYPES.get(kind, f"of ELF type {kind}")
        raise InputError(f"{name}: is {what}; expected a static executable")


def _guarded(name: str, work: Callable[[], T]) -> T:
    """Run *work*; convert any exception of pyelftools on a hostile file to an InputError."""
    try:
        return work()
    except InputError:
        raise
    except Exception as error:
        why = str(error) or type(error).__name__
        raise InputError(f"{name}: is a damaged ELF file ({excerpt(why)})") from error


def _check_table(data: "bytes | mmap", name: str, what: str, start: int, size: int) -> None:
    if start + size > len(data):
        raise InputError(
            f"{name}: is truncated: {what} would end at byte {start + size:#x}, "
            f"and the file has {len(data):#x}"
        )


def _loaded(data: bytes, name: str) -> tuple[Segment, ...]:
    found = _segments(data, name)
    if not found:
        raise InputError(f"{name}: has nothing to load; expected an ELF with a PT_LOAD segment")
    return found


def program_headers(
    data: "bytes | mmap", name: str
) -> Iterator[tuple[int, int, int, int, int, int, int]]:
    """Return p_type, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz and p_align of each segment.

    Raises:
        InputError: they are not all in *data*.
    """
    # Without pyelftools, whose import takes longer than all else that a start does with an ELF.
    _, phoff, shoff, phentsize, count, shentsize, sections = _EHDR.unpack_from(data)
    if count == _PN_XNUM:
        raise InputError(f"{name}: has {count} program headers or more; expected fewer")
    _check_table(data, name, "the program headers", phoff, count * _PHDR.size)
    _check_table(data, name, "the section headers", shoff, sections * _SHDR_SIZE)
    if (count and phentsize != _PHDR.size) or (sections and shentsize != _SHDR_SIZE):
        raise InputError(f"{name}: is a damaged ELF file (headers of an unknown size)")
    # Of a copy: Python before 3.12.7 crashes when it collects an iterator over a memoryview, as an
    # error in a cycle may hold one (python/cpython#77894).
    return _PHDR.iter_unpack(data[phoff : phoff + count * _PHDR.size])


def notes(data: "bytes | mmap", name: str) -> Iterator[bytes]:
    """Yield what the segments and sections of notes begin with.

    Raises:
        InputError: it is no ELF file, or a damaged one.
    """
    if data[:4] != MAGIC or len(data) < _EHDR.size:
        raise InputError(f"{name}: is no ELF file")
    segments = ((row[0] == _PT_NOTE, row[1], row[4]) for row in program_headers(data, name))
    _, _, start, _, _, _, count = _EHDR.unpack_from(data)
    table = data[start : start + count * _SHDR_SIZE]
    sections = ((row[0] == _SHT_NOTE, *row[1:]) for row in _SHDR.iter_unpack(table))
    places = ((at, size) for wanted, at, size in itertools.chain(segments, sections) if wanted)
    for at, size in itertools.islice(places, _NOTE_PLACES):
        yield data[at : at + min(size, _NOTE_BYTES)]


def _segments(data: bytes, name: str) -> tuple[Segment, ...]:
    view = memoryview(data)
    found: list[Segment] = []
    rows = program_headers(data, name)
    for index, (kind, offset, vaddr, paddr, filesz, memsz, _) in enumerate(rows):
        if kind == _PT_INTERP:
            raise InputError(f"{name}: needs a dynamic linker; expected a static executable")
        if kind != _PT_LOAD or not memsz:
            continue
        if filesz > memsz:
            raise InputError(f"{name}: segment {index} is larger in the file than in memory")
        if max(paddr, vaddr) + memsz > 1 << 64:
            raise InputError(f"{name}: segment {index} reaches beyond 64 bits of address")
        if filesz:  # the offset of a segment of zeroes may be anything
            _check_table(data, name, f"segment {index}", offset, filesz)
        # Views, not copies: thousands of headers may refer to the same bytes.
        found.append(Segment(paddr, vaddr, view[offset : offset + filesz], memsz))
    return tuple(found)


def _symbols(data: bytes, name: str, wanted: Collection[bytes] | None = None) -> dict[str, int]:
    """Read all symbols, or those that may have *wanted* names, each of which ends in NUL."""
    # Imported here since it takes 60 ms and few sessions read symbols.
    from elftools.elf.elffile import ELFFile

    elf = ELFFile(io.BytesIO(data))
    # Checked before any loop: section 0 may claim 2^32 section headers.
    size = int(elf.num_sections()) * _SHDR_SIZE
    _check_table(data, name, "the section headers", elf.header.e_shoff, size)
    table = next(elf.iter_sections("SHT_SYMTAB"), None)
    if table is None:
        return {}
    # Sliced, since ``section.data()`` would inflate a compressed section.
    rows = _content(data, table.header)
    names = _content(data, elf.get_section(table.header.sh_link).header)
    found: dict[str, int] = {}
    strong: set[str] = set()
    table_rows = _SYMBOL.iter_unpack(rows)
    if wanted is not None:
        # A linker may share the bytes of a name with the end of a longer one.
        places = {place.start() for name in wanted for place in re.finditer(re.escape(name), names)}
        table_rows = (row for row in table_rows if row[0] in places)
    for st_name, info, _, shndx, value, _ in table_rows:
        if not st_name or not shndx or info & 0xF in (_STT_SECTION, _STT_FILE):
            continue
        end = names.find(b"\0", st_name, st_name + _NAME_LIMIT)
        symbol = names[st_name : max(end, st_name)].decode()
        # $x and $d mark code and data (ELF for the Arm 64-bit Architecture, "Mapping symbols").
        if not symbol or symbol.startswith(("$x", "$d")):
            continue
        if info >> 4 != _STB_LOCAL and symbol not in strong:
            strong.add(symbol)
            found[symbol] = value
        else:
            found.setdefault(symbol, value)
    return found


def _content(data: bytes, header: "Container") -> bytes:
    return data[header.sh_offset : header.sh_offset + header.sh_size]
