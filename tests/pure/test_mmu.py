"""Translation tables are forged here by their definition, then walked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub.aarch64.mmu import Regime, translate
from gdbstub.aarch64.sysreg import SCTLR, TCR
from gdbstub.errors import MemoryFault

MMU_ON = SCTLR(M=1)
TG0 = {12: 0b00, 16: 0b01, 14: 0b10}
TG1 = {14: 0b01, 12: 0b10, 16: 0b11}
TABLE, PAGE, BLOCK = 0b11, 0b11, 0b01


class Tables:
    """RAM full of translation tables, built the way an operating system would."""

    def __init__(self, granule: int, bits: int, base: int = 0x4010_0000) -> None:
        self.granule, self.bits = granule, bits
        self.stride = granule - 3
        self.start = 4 - -(-(bits - granule) // self.stride)
        self.root = base
        self.next = base + (1 << granule)
        self.words: dict[int, int] = {}

    def shift(self, level: int) -> int:
        return self.granule + (3 - level) * self.stride

    def map(self, gva: int, ipa: int, level: int = 3) -> None:
        table = self.root
        for at in range(self.start, level + 1):
            width = self.bits - self.shift(at) if at == self.start else self.stride
            index = (gva & (1 << self.bits) - 1) >> self.shift(at) & (1 << width) - 1
            place = table + 8 * index
            if at == level:
                self.words[place] = ipa & -(1 << self.shift(at)) | (PAGE if at == 3 else BLOCK)
                return
            if place not in self.words:
                self.words[place] = self.next | TABLE
                self.next += 1 << self.granule
            table = self.words[place] & -(1 << self.granule)

    def read(self, ipa: int, length: int) -> bytes:
        return self.words.get(ipa, 0).to_bytes(length, "little")

    def regime(self, **tcr: int) -> Regime:
        size = 64 - self.bits
        fields = {
            "T0SZ": size, "T1SZ": size, "TG0": TG0[self.granule], "TG1": TG1[self.granule], **tcr
        }  # fmt: skip
        return Regime(MMU_ON, TCR(**fields), self.root, self.root)


GRANULES = st.sampled_from([(12, 39), (12, 48), (12, 42), (14, 47), (14, 36), (16, 42), (16, 48)])


@given(GRANULES, st.integers(0, (1 << 48) - 1), st.integers(0, (1 << 40) - 1), st.booleans())
def test_a_mapped_page_translates(shape: tuple[int, int], gva: int, ipa: int, upper: bool) -> None:
    granule, bits = shape
    gva &= (1 << bits) - 1
    tables = Tables(granule, bits)
    tables.map(gva, ipa)
    if upper:
        gva |= (1 << 64) - (1 << bits)
    mapping = translate(tables.regime(), gva, tables.read)
    offset = gva & (1 << granule) - 1
    assert mapping.ipa == (ipa & -(1 << granule)) + offset
    assert mapping.size == (1 << granule) - offset


@pytest.mark.parametrize(("granule", "bits", "level"), [(12, 48, 1), (12, 48, 2), (16, 48, 2)])
def test_a_block_translates(granule: int, bits: int, level: int) -> None:
    tables = Tables(granule, bits)
    size = 1 << tables.shift(level)
    tables.map(3 * size, 5 * size, level)
    mapping = translate(tables.regime(), 3 * size + 0x1234, tables.read)
    assert (mapping.ipa, mapping.size) == (5 * size + 0x1234, size - 0x1234)


def test_with_the_mmu_off_addresses_are_physical() -> None:
    mapping = translate(Regime(SCTLR(), TCR(), 0, 0), 0x4000_0000, Tables(12, 48).read)
    assert mapping.ipa == 0x4000_0000


def test_what_is_not_mapped_is_a_fault() -> None:
    tables = Tables(12, 48)
    tables.map(0x1000, 0x4000_0000)
    with pytest.raises(MemoryFault, match="no translation at level 3"):
        translate(tables.regime(), 0x2000, tables.read)
    with pytest.raises(MemoryFault, match="no translation at level 0"):
        translate(tables.regime(), 1 << 40, tables.read)


@pytest.mark.parametrize("gva", [1 << 48, 0x00FF << 48, (1 << 64) - (1 << 49)])
def test_the_hole_between_the_tables_is_a_fault(gva: int) -> None:
    tables = Tables(12, 48)
    with pytest.raises(MemoryFault, match="outside both"):
        translate(tables.regime(), gva, tables.read)


def test_the_top_byte_is_ignored_where_tcr_says_so() -> None:
    tables = Tables(12, 48)
    tables.map(0x1000, 0x4000_0000)
    assert translate(tables.regime(TBI0=1), 0xAB << 56 | 0x1004, tables.read).ipa == 0x4000_0004
    with pytest.raises(MemoryFault):
        translate(tables.regime(TBI0=0), 0xAB << 56 | 0x1004, tables.read)


def test_a_table_walk_that_is_disabled_is_a_fault() -> None:
    tables = Tables(12, 48)
    with pytest.raises(MemoryFault, match="no translation table"):
        translate(tables.regime(EPD0=1), 0x1000, tables.read)


@given(st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1), st.binary(min_size=8))
def test_any_tables_end_in_a_mapping_or_a_fault(gva: int, tcr: int, noise: bytes) -> None:
    def read(ipa: int, length: int) -> bytes:
        at = ipa % len(noise)
        return (noise[at:] + noise)[:length]

    try:
        mapping = translate(Regime(MMU_ON, TCR(tcr), 0x4000_0000, 0x4000_0000), gva, read)
    except MemoryFault:
        return
    assert 0 <= mapping.ipa < 1 << 56
    assert mapping.size > 0
