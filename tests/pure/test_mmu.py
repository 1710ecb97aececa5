"""Translation tables are forged by their definition, then walked."""

import re
from dataclasses import dataclass
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub.aarch64.mmu import Mapping, Regime, Type, pieces, translate, walk
from gdbstub.aarch64.sysreg import SCTLR, TCR
from gdbstub.errors import MemoryFault
from tests.tables import AF, VALID, Tables

MMU_ON: Final = SCTLR.of(M=1)


def regime(tables: Tables, pa_bits: int = 52, **tcr: int) -> Regime:
    """The same tables in both halves."""
    sctlr = SCTLR(MMU_ON).replace(EE=tables.order == "big")
    return Regime(sctlr, TCR.of(**(tables.tcr() | tcr)), tables.ttbr, tables.ttbr, pa_bits)


@dataclass(frozen=True)
class Shape:
    """*blocks*: the levels that may end a walk before pages do (Arm ARM D8.3.1)."""

    granule: int
    bits: int
    large: bool = False
    blocks: tuple[int, ...] = (2,)

    def tables(self, **more: object) -> Tables:
        base = 0xA_BCDE_4010_0000 if self.large else 0x4010_0000
        made = Tables(self.granule, self.bits, base, self.large)
        for name, value in more.items():
            setattr(made, name, value)
        return made

    def levels(self) -> list[int]:
        """Levels where a walk may end."""
        start = self.tables().start
        return [level for level in (*self.blocks, 3) if level >= start]


SHAPES: Final = (
    *(Shape(12, bits, blocks=(1, 2)) for bits in (16, 25, 36, 39, 42, 47, 48)),
    *(Shape(12, bits, large=True, blocks=(0, 1, 2)) for bits in (39, 48, 49, 52)),
    *(Shape(14, bits) for bits in (16, 36, 39, 47, 48)),
    *(Shape(14, bits, large=True, blocks=(1, 2)) for bits in (36, 47, 48, 52)),
    *(Shape(16, bits) for bits in (17, 36, 39, 42, 48)),
    *(Shape(16, bits, large=True, blocks=(1, 2)) for bits in (42, 48, 52)),
)
WORDS: Final = st.integers(0, (1 << 64) - 1)


@given(st.sampled_from(SHAPES), st.data())
def test_what_is_mapped_is_found_and_its_neighbours_are_not(
    shape: Shape, data: st.DataObject
) -> None:
    level = data.draw(st.sampled_from(shape.levels()))
    tables = shape.tables(order=data.draw(st.sampled_from(["little", "big"])))
    gva = data.draw(st.integers(0, (1 << shape.bits) - 1))
    ipa = data.draw(st.integers(0, (1 << (52 if shape.large else 48)) - 1))
    tables.map(gva, ipa, level, data.draw(st.sampled_from([0, AF, 0x78 << 47 | AF | 0x3D << 2])))
    if shape.large and shape.granule != 16:
        tables.words[tables.place(gva, level)] &= ~0x300
        tables.words[tables.place(gva, level)] |= ipa >> 50 << 8
    ignored, upper = data.draw(st.booleans()), data.draw(st.booleans())
    top = (1 << 64) - (1 << shape.bits) if upper else 0
    if ignored:
        top = top & ~(0xFF << 56) | data.draw(st.integers(0, 0xFF)) << 56
    r = regime(tables, TBI0=ignored, TBI1=ignored)
    size = tables.size(level)
    offset = gva & size - 1

    mapping = translate(r, top | gva, tables.read)
    assert mapping == Mapping(ipa & -size | offset, size - offset)
    shown = walk(r, top | gva, tables.read)
    assert shown.mapping == mapping
    assert [step.level for step in shown.steps] == list(range(tables.start, level + 1))
    assert {step.type for step in shown.steps[:-1]} <= {Type.TABLE}
    assert shown.steps[-1].type is (Type.PAGE if level == 3 else Type.BLOCK)
    for neighbour in (gva & -size) - 1, (gva & -size) + size:
        if 0 <= neighbour < 1 << shape.bits:
            with pytest.raises(MemoryFault, match="no translation"):
                translate(r, top | neighbour, tables.read)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("level", range(-1, 4))
def test_blocks_are_where_the_architecture_has_them_and_nowhere_else(
    shape: Shape, level: int
) -> None:
    tables = shape.tables()
    if level < tables.start:
        return
    tables.words[tables.place(0, level)] = VALID | AF
    r = regime(tables, pa_bits=52 if shape.large else 48)
    if level in shape.blocks:
        assert translate(r, 0, tables.read).size == tables.size(level)
    else:
        with pytest.raises(MemoryFault, match=f"no translation at level {level}"):
            translate(r, 0, tables.read)


def test_a_cpu_without_52_bits_has_no_4_tb_block_and_no_high_table() -> None:
    tables = Tables(16, 48, large=True)
    tables.words[tables.place(0, 1)] = VALID | AF | 0xF << 12
    assert translate(regime(tables), 0, tables.read).ipa == 0xF << 48
    with pytest.raises(MemoryFault, match="no translation at level 1"):
        translate(regime(tables, pa_bits=48), 0, tables.read)
    tables = Tables(16, 42)
    tables.map(0, 0x1_0000)
    tables.words[tables.place(0, 3)] |= 0xF << 12  # bits that mean nothing to this CPU
    assert translate(regime(tables, pa_bits=48), 0, tables.read).ipa == 0x1_0000


def test_the_first_table_is_aligned_to_its_size_and_no_more() -> None:
    """A table of 4 entries may lie in the middle of others: 32 bytes of alignment."""
    tables = Tables(12, 32, 0x4010_0020)
    tables.next = 0x4020_0000
    tables.map(0xC000_1000, 0x8000_0000)
    assert tables.start == 1
    r = regime(tables)
    assert translate(r, 0xC000_1000, tables.read).ipa == 0x8000_0000
    # Below that, bits of TTBR are something else's (CnP), and so are those above: the ASID.
    odd = Regime(r.sctlr, r.tcr, tables.base | 0x1F | 0xABCD << 48, 0)
    assert translate(odd, 0xC000_1000, tables.read).ipa == 0x8000_0000


def test_a_table_of_52_bits_is_aligned_to_64_bytes() -> None:
    tables = Tables(16, 44, 0xF_0000_4010_0040, large=True)
    tables.next = 0xF_0000_4020_0000
    tables.map(3 << 42, 0xF_1234_0000_0000)
    r = regime(tables)
    assert translate(r, 3 << 42, tables.read).ipa == 0xF_1234_0000_0000
    assert translate(Regime(r.sctlr, r.tcr, r.ttbr0 | 0x3, 0), 3 << 42, tables.read)


@pytest.mark.parametrize(
    ("tcr", "ipa", "ok"),
    [
        ({"IPS": 0}, 0xFFFF_F000, True),
        ({"IPS": 0}, 0x1_0000_0000, False),
        ({"IPS": 2}, 0xFF_FFFF_F000, True),
        ({"IPS": 2}, 0x100_0000_0000, False),
        ({"IPS": 7}, 0x8000_0000_0000, True),  # reserved: as large as there is
    ],
)
def test_an_output_is_as_long_as_tcr_says(tcr: dict[str, int], ipa: int, ok: bool) -> None:
    tables = Tables()
    tables.map(0x1000, ipa)
    if ok:
        assert translate(regime(tables, **tcr), 0x1000, tables.read).ipa == ipa
        return
    with pytest.raises(MemoryFault, match=r"level 3 is beyond \d+ bits of physical address"):
        translate(regime(tables, **tcr), 0x1000, tables.read)


def test_an_output_is_no_longer_than_the_cpu_has() -> None:
    tables = Tables()
    tables.map(0x1000, 1 << 44)
    assert translate(regime(tables, pa_bits=48), 0x1000, tables.read).ipa == 1 << 44
    with pytest.raises(MemoryFault, match="level 3 is beyond 44 bits"):
        translate(regime(tables, pa_bits=44), 0x1000, tables.read)
    high = Tables(base=1 << 44)
    with pytest.raises(MemoryFault, match="TTBR0_EL1 is beyond 44 bits"):
        translate(regime(high, pa_bits=44), 0x1000, high.read)


# The MMU off.

OFF: Final = SCTLR()


def test_with_the_mmu_off_addresses_are_physical() -> None:
    r = Regime(OFF, TCR(), 0, 0, 40)
    assert translate(r, 0x4000_0000, Tables().read) == Mapping(0x4000_0000, (1 << 40) - (1 << 30))
    assert walk(r, 0x4000_0000, Tables().read).steps == ()


@pytest.mark.parametrize("gva", [1 << 40, 1 << 55, 0xFF << 56, (1 << 64) - 1])
def test_with_the_mmu_off_an_address_is_no_longer_than_the_cpu_has(gva: int) -> None:
    with pytest.raises(MemoryFault, match="beyond 40 bits"):
        translate(Regime(OFF, TCR(), 0, 0, 40), gva, Tables().read)


def test_tags_are_dropped_with_the_mmu_off_too() -> None:
    """TCR_EL1.TBI0 "has an effect whether the regime is enabled or not"; bit 55 chooses."""
    tagged = 0xAB << 56 | 0x4000_0000
    assert translate(Regime(OFF, TCR.of(TBI0=1), 0, 0), tagged, Tables().read).ipa == 0x4000_0000
    for tcr in TCR(), TCR.of(TBI1=1):
        with pytest.raises(MemoryFault):
            translate(Regime(OFF, tcr, 0, 0), tagged, Tables().read)


# What is nowhere.


def test_what_is_not_mapped_is_a_fault() -> None:
    tables = Tables()
    tables.map(0x1000, 0x4000_0000)
    with pytest.raises(MemoryFault, match="no translation at level 3"):
        translate(regime(tables), 0x2000, tables.read)
    with pytest.raises(MemoryFault, match="no translation at level 0"):
        translate(regime(tables), 1 << 40, tables.read)


def test_a_walk_that_fails_shows_how_far_it_went() -> None:
    tables = Tables()
    tables.map(0x1000, 0x4000_0000)
    shown = walk(regime(tables), 0x2000, tables.read)
    assert [step.type for step in shown.steps] == [Type.TABLE] * 3 + [Type.INVALID]
    assert (shown.mapping, shown.fault) == (None, "no translation at level 3")


@pytest.mark.parametrize("gva", [1 << 48, 0x00FF << 48, (1 << 64) - (1 << 49)])
def test_the_hole_between_the_tables_is_a_fault(gva: int) -> None:
    tables = Tables()
    with pytest.raises(MemoryFault, match="outside both"):
        translate(regime(tables), gva, tables.read)
    assert "outside both" in walk(regime(tables), gva, tables.read).fault


def test_the_top_byte_counts_where_tcr_does_not_say_otherwise() -> None:
    tables = Tables()
    tables.map(0x1000, 0x4000_0000)
    with pytest.raises(MemoryFault, match="outside both"):
        translate(regime(tables, TBI1=1), 0xAB << 56 | 0x1004, tables.read)


@pytest.mark.parametrize("half", [0, 1])
def test_a_table_walk_that_is_disabled_is_a_fault(half: int) -> None:
    tables = Tables()
    tables.map(0x1000, 0x4000_0000)
    gvas = 0x1000, 0x1000 | (1 << 64) - (1 << 48)
    r = regime(tables, **{f"EPD{half}": 1})
    assert translate(r, gvas[not half], tables.read)
    with pytest.raises(MemoryFault, match=f"EPD{half} is set"):
        translate(r, gvas[half], tables.read)


@pytest.mark.parametrize(
    "tcr", [{"TG0": 3}, {"T0SZ": 15}, {"T0SZ": 49}, {"TG0": 1, "T0SZ": 11}, {"TG0": 1, "T0SZ": 48}]
)
def test_a_reserved_size_is_a_fault(tcr: dict[str, int]) -> None:
    tables = Tables()
    with pytest.raises(MemoryFault, match="T0SZ or TG0 is reserved"):
        translate(regime(tables, **tcr), 0x1000, tables.read)


def test_a_table_that_is_not_in_ram_is_a_fault() -> None:
    def nothing(ipa: int, length: int) -> bytes:
        raise MemoryFault(f"no RAM at {ipa:#x}")

    tables = Tables()
    with pytest.raises(MemoryFault, match=r"table of level 0, 0x40100000, is not in RAM"):
        translate(regime(tables), 0x1000, nothing)
    with pytest.raises(MemoryFault, match="is not in RAM"):
        translate(regime(tables), 0x1000, lambda ipa, length: b"1234567")


@given(WORDS, WORDS, WORDS, st.binary(min_size=8))
def test_any_tables_end_in_a_mapping_or_a_fault(
    gva: int, tcr: int, ttbr: int, noise: bytes
) -> None:
    def read(ipa: int, length: int) -> bytes:
        at = ipa % len(noise)
        return (noise * (length // len(noise) + 2))[at:][:length]

    r = Regime(MMU_ON, TCR(tcr), ttbr, ttbr)
    shown = walk(r, gva, read)
    if shown.mapping is None:
        with pytest.raises(MemoryFault, match=f"^{re.escape(shown.fault)}$"):
            translate(r, gva, read)
        return
    assert translate(r, gva, read) == shown.mapping
    assert 0 <= shown.mapping.ipa < 1 << 52
    assert shown.mapping.size > 0


# Ranges.


@given(
    st.sampled_from([12, 14, 16]), st.lists(st.integers(0, 7), min_size=1, max_size=12), st.data()
)
def test_pieces_are_what_page_by_page_is(
    granule: int, pages: list[int], data: st.DataObject
) -> None:
    """Page n of the range is mapped to physical page *pages[n]*; 0 leaves it out."""
    tables = Tables(granule, 36 if granule == 12 else 39)
    page = 1 << granule
    # Over the end of a table of the last level.
    first = (tables.size(2) - page * data.draw(st.integers(0, len(pages)))) % tables.size(2)
    for n, at in enumerate(pages):
        if at:
            tables.map(first + n * page, at * page)
    start = 64 * data.draw(st.integers(0, len(pages) * page // 64 - 1))
    length = data.draw(st.integers(1, len(pages) * page - start))
    seen: list[int] = []
    fault = ""
    try:
        for piece in pieces(regime(tables), first + start, length, tables.read):
            seen += range(piece.ipa, piece.ipa + piece.size, 64)
    except MemoryFault as error:
        fault = str(error)
    expected: list[int] = []
    for at in range(start, start + length, 64):
        if not pages[at // page]:
            break
        expected.append(pages[at // page] * page + at % page)
    assert seen[: len(expected)] == expected
    whole = len(expected) == -(-length // 64)
    assert whole != fault.startswith("no translation at level")


def test_neighbours_are_one_piece_and_cost_no_walk() -> None:
    """16 MB of 4 K pages: 8 tables, each reached by 4 reads and read once."""
    tables = Tables()
    for n in range(4096):
        tables.map(0x8000_0000 + n * 4096, 0x1_0000_0000 + n * 4096)
    reads = []

    def read(ipa: int, length: int) -> bytes:
        reads.append(length)
        return tables.read(ipa, length)

    found = list(pieces(regime(tables), 0x8000_0000, 16 << 20, read))
    assert found == [Mapping(0x1_0000_0000 + n * (2 << 20), 2 << 20) for n in range(8)]
    assert len(reads) == 8 * 5


@pytest.mark.parametrize(
    "shape", [Shape(16, 48, large=True), Shape(12, 48, large=True), Shape(12, 48)]
)
def test_neighbours_at_the_end_of_the_addresses_are_no_neighbours(shape: Shape) -> None:
    """The page behind the highest address that 48 bits can say is not the one at 0."""
    tables = shape.tables(base=0x4010_0000, next=0x4020_0000)
    last = (1 << 48) - tables.size(3)
    tables.map(0, last)
    tables.map(tables.size(3), 0)
    found = list(pieces(regime(tables), 0, 2 * tables.size(3), tables.read))
    assert [piece.ipa for piece in found] == [last, 0]
