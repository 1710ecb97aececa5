"""A walk as a person sees it."""

from textwrap import dedent

from gdbstub.aarch64.mmu import Regime, walk
from gdbstub.aarch64.sysreg import SCTLR, TCR
from gdbstub.aarch64.walk import attributes, render
from tests.tables import AF, Tables

GVA = 0xFFFF_8000_0801_0123
UXN, CONTIGUOUS, INNER, READ_ONLY = 1 << 54, 1 << 52, 3 << 8, 1 << 7


def shown(tables: Tables, gva: int = GVA, **tcr: int) -> str:
    regime = Regime(SCTLR.of(M=1), TCR.of(**(tables.tcr() | tcr)), 0, tables.ttbr)
    return render(walk(regime, gva, tables.read))


def test_a_page() -> None:
    tables = Tables()
    tables.map(GVA, 0x4801_0000, attributes=UXN | CONTIGUOUS | AF | INNER | READ_ONLY | 4 << 2)
    tables.words[tables.place(GVA, 2)] |= 1 << 60
    assert shown(tables) == dedent(
        """\
        0xffff800008010123: TTBR1_EL1 = 0x40100000, 4 KiB granule, 48 bits
        level  0  0x40100000[256] = 0x0000000040101003  table 0x40101000
        level  1  0x40101000[0] = 0x0000000040102003  table 0x40102000
        level  2  0x40102000[64] = 0x1000000040103003  table 0x40103000  UXNTable
        level  3  0x40103000[16] = 0x0050000048010793  page 0x48010000  \
UXN Contiguous AF SH=3 (inner shareable) AP=2 (EL1 reads) AttrIndx=4
        physical 0x48010123, 0xedd bytes from there"""
    )


def test_a_block_and_where_there_is_none() -> None:
    tables = Tables(14, 47)
    gva = 0xFFFF_8000_0200_0000
    tables.map(gva, 0x8000_0000, level=2)
    said = shown(tables, gva).splitlines()
    assert said[-2].endswith(
        "block 0x80000000  AF SH=0 (non-shareable) AP=0 (EL1 writes) AttrIndx=0"
    )
    assert said[-1] == "physical 0x80000000, 0x2000000 bytes from there"
    said = shown(tables, gva - 0x200_0000).splitlines()
    assert said[-2].endswith("= 0x0000000000000000  invalid")
    assert said[-1] == "no translation at level 2"


def test_with_52_bits_shareability_is_tcrs() -> None:
    """The descriptor has bits 51 and 50 of the address there."""
    tables = Tables(12, 52, large=True)
    gva = 0xFFF8_0000_0000_0000
    tables.map(gva, 0xF_0000_8000_0000)
    regime = Regime(SCTLR.of(M=1), TCR.of(**tables.tcr(), SH1=2), 0, tables.ttbr)
    found = walk(regime, gva, tables.read)
    assert found.mapping is not None
    assert found.mapping.ipa == 0xF_0000_8000_0000
    leaf = attributes(found)
    assert leaf is not None
    assert leaf.SH == 2


def test_what_has_no_tables() -> None:
    off = Regime(SCTLR(), TCR(), 0, 0, 40)
    assert render(walk(off, 0x4000_0000, Tables().read)) == (
        "0x40000000: the MMU is off\nphysical 0x40000000, 0xffc0000000 bytes from there"
    )
    assert "the MMU is off\n" in render(walk(off, GVA, Tables().read))
    assert shown(Tables(), EPD1=1).endswith(
        "= 0x40100000\nno translation table for the upper half: TCR_EL1.EPD1 is set"
    )
