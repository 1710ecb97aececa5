"""Position-independent ELF files, forged, and linked by a real linker."""

import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub.errors import InputError
from gdbstub.linux import relocate
from gdbstub.linux.elf import Executable
from gdbstub.vmm import boot
from gdbstub.vmm.layout import Gic
from tests.pure.elves import RAM, Elf, Load

DEFAULT = RAM + 0x8_0000
MEMORY = 64 << 20
DYNAMIC, DATA = 0x2000, 0x3000
DT_RELA, DT_RELASZ, DT_RELRSZ, DT_FLAGS_1 = 7, 8, 35, 0x6FFF_FFFB
RELATIVE, GLOB_DAT = 1027, 1025


def rela(at: int, addend: int, kind: int = RELATIVE, symbol: int = 0) -> bytes:
    return struct.pack("<QIIq", at, kind, symbol, addend)


def dynamic(*pairs: tuple[int, int]) -> bytes:
    return b"".join(struct.pack("<qQ", *pair) for pair in (*pairs, (0, 0)))


def forged(relocations: bytes, *, link: int = 0, table: bytes | None = None) -> bytes:
    """Code, a table of relocations behind its dynamic section, and data."""
    if table is None:
        rows = (DT_RELA, link + DYNAMIC + 0x100), (DT_RELASZ, len(relocations)), (DT_FLAGS_1, 1)
        table = dynamic(*rows)
    found = [
        Load(link, bytes(0x10)),
        Load(link + DYNAMIC, table.ljust(0x100, b"\0") + relocations),
        Load(link + DATA, bytes(range(0x20)), memsz=0x100),
        Load(link + DYNAMIC, table, type=2),
    ]
    return Elf(found, entry=link + 4, type=3).build()


def parse(data: bytes, address: int | None = None) -> Executable:
    return relocate.parse(data, "a.elf", address=address, default=DEFAULT, memory=MEMORY)


def words(found: Executable) -> list[int]:
    return list(struct.unpack("<4Q", found.segments[-1].data))


def test_each_relocation_is_its_addend_moved_whatever_was_there() -> None:
    found = parse(forged(rela(DATA + 8, 0x1234) + rela(DATA + 24, -8) + rela(0, 0, kind=0)))
    assert found.offset == DEFAULT
    assert [s.paddr for s in found.segments] == [DEFAULT, DEFAULT + DYNAMIC, DEFAULT + DATA]
    assert words(found)[1] == DEFAULT + 0x1234
    assert words(found)[3] == DEFAULT - 8
    assert words(found)[0] == 0x0706_0504_0302_0100
    assert (found.entry, found.physical_entry) == (4, DEFAULT + 4)
    assert boot.plan(found, memory=MEMORY, gic=Gic.V3, mpidrs=[0]).pc == DEFAULT + 4


def test_it_goes_where_asked() -> None:
    found = parse(forged(rela(DATA, 0)), RAM + 0x1000)
    assert (found.offset, words(found)[0]) == (RAM + 0x1000, RAM + 0x1000)


def test_linked_at_an_address_in_ram_it_stays_there() -> None:
    found = parse(forged(rela(RAM + (1 << 20) + DATA, 5), link=RAM + (1 << 20)))
    assert (found.offset, words(found)[0]) == (0, 5)


def test_without_relocations_or_a_dynamic_section_it_is_only_moved() -> None:
    """Files of kvm-unit-tests are such: they relocate themselves."""
    for data in (forged(b""), Elf([Load(0)], entry=0, type=3).build()):
        assert parse(data).offset == DEFAULT


PACKED = dynamic((DT_RELRSZ, 8), (36, DATA))


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (forged(rela(DATA, 0, GLOB_DAT, 1)), "has a relocation of type 1025 at 0x3000; expected"),
        (forged(rela(DATA, 0, symbol=1)), "has a relocation of type 1027 at 0x3000; expected"),
        (forged(rela(DATA + 25, 0)), "has a relocation at 0x3019, which is in no segment"),
        (forged(rela(DATA - 1, 0)), "has a relocation at 0x2fff, which is in no segment"),
        (forged(rela(1 << 63, 0)), "has a relocation at 0x8000000000000000, which is in no"),
        (forged(b"", table=PACKED), r"has packed relocations \(DT_RELR\); link it with -z nopack"),
        (forged(b"", table=dynamic((DT_RELA, 1 << 40), (DT_RELASZ, 24))), "its relocations at 0x1"),
        (forged(b"", table=dynamic((DT_RELA, DATA), (DT_RELASZ, 1 << 50))), "its relocations at"),
        (Elf([Load(0), Load(4)], entry=0, type=3).build(), "its segments overlap at 0x4"),
        (Elf([Load(0), Load(1 << 40)], entry=0, type=3).build(), "spans 0x10000000010 bytes"),
        (Elf([Load(0)], entry=0x99, type=3).build(), "the entry point 0x99 is in none of"),
        (Elf([Load(0)], entry=0x2, type=3).build(), "the entry point 0x2 is in none of"),
        (Elf([Load(0), Load(64, b"/ld.so", type=3)], type=3).build(), "needs a dynamic linker"),
    ],
)
def test_what_cannot_be_relocated_is_told(data: bytes, line: str) -> None:
    with pytest.raises(InputError, match=f"^a.elf: {line}"):
        parse(data)


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (
            ((23, DYNAMIC + 0x100), (2, 24)),
            "has a relocation of type 1026 at 0x3000; expected only",
        ),
        (((17, DYNAMIC + 0x100), (18, 16)), "has relocations without addends"),
    ],
    ids=["of a PLT", "without addends"],
)
def test_other_tables_are_not_left_out(rows: tuple[tuple[int, int], ...], line: str) -> None:
    with pytest.raises(InputError, match=f"^a.elf: {line}"):
        parse(forged(rela(DATA, 0, kind=1026, symbol=1), table=dynamic(*rows)))


def test_the_table_ends_at_its_end() -> None:
    rows = (DT_RELA, DYNAMIC + 0x100), (DT_RELASZ, 24), (0, 0), (DT_RELASZ, 0)
    assert words(parse(forged(rela(DATA, 8), table=dynamic(*rows))))[0] == DEFAULT + 8


def test_an_address_that_does_not_fit_is_told() -> None:
    line = "--load 0x40000008: a.elf moves up by a multiple of 0x1000 from 0x0, where it was linked"
    with pytest.raises(InputError, match=line):
        parse(forged(b""), RAM + 8)
    with pytest.raises(InputError, match="moves up by a multiple of 0x1000 from 0x50000000, where"):
        parse(forged(b"", link=0x5000_0000), RAM)


WHOLE = forged(rela(DATA + 8, 0x1234))


@given(st.lists(st.tuples(st.integers(16, len(WHOLE) - 1), st.integers(0, 255)), max_size=6))
def test_mutated_files_never_raise_anything_else(edits: list[tuple[int, int]]) -> None:
    data = bytearray(WHOLE)
    for at, value in edits:
        data[at] = value
    try:
        found = parse(bytes(data))
    except InputError:
        return
    assert sum(len(segment.data) for segment in found.segments) <= MEMORY


SOURCE = """
extern int there[];
int *pointers[2] = {there, there + 1};
__attribute__((weak)) int absent(void);
int (*weak)(void) = absent;
int there[2] = {7, 8};
void _start(void) { for (;;) __asm__ volatile ("" : : "r" (pointers), "r" (weak)); }
"""


def test_a_real_linker_s_file(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(SOURCE)
    argv = ["aarch64-linux-gnu-gcc", "-static-pie", "-fpie", "-nostdlib", "-o", "a.elf", "a.c"]
    subprocess.run(argv, cwd=tmp_path, check=True)
    data = (tmp_path / "a.elf").read_bytes()
    found = parse(data, RAM + (1 << 20))
    memory = bytearray(1 << 20)
    for segment in found.segments:
        at = segment.paddr - RAM - (1 << 20)
        memory[at : at + len(segment.data)] = segment.data
    pointers = struct.unpack_from("<2Q", memory, found.symbols["pointers"])
    there = found.symbols["there"] + found.offset
    assert pointers == (there, there + 4)
    assert struct.unpack_from("<Q", memory, found.symbols["weak"]) == (0,)
