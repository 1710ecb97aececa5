"""Permissions of translations, against the tables of the Arm ARM (D8.4)."""

import pytest

from gdbstub.aarch64.mmu import Regime, walk
from gdbstub.aarch64.permissions import ALL, NONE, Permissions, permissions
from gdbstub.aarch64.sysreg import SCTLR, TCR
from tests.tables import AF, Tables

GVA = 0xFFFF_8000_0801_0000
PXN, UXN = 1 << 53, 1 << 54
AP = 6
UXN_TABLE, PXN_TABLE, AP_TABLE = 1 << 60, 1 << 59, 61


ON = SCTLR.of(M=1)


def at(leaf: int, *, table: int = 0, sctlr: SCTLR = ON, gva: int = GVA, **tcr: int) -> Permissions:
    tables = Tables()
    tables.map(gva, 0x4801_0000, attributes=AF | leaf)
    tables.words[tables.place(gva, 2)] |= table
    regime = Regime(sctlr, TCR.of(**(tables.tcr() | tcr)), tables.ttbr, tables.ttbr)
    return permissions(walk(regime, gva, tables.read))


@pytest.mark.parametrize(
    ("leaf", "right"),
    [
        (0b00 << AP, Permissions(True, True, True, False)),
        (0b01 << AP, Permissions(False, True, True, True)),
        (0b10 << AP, Permissions(True, True, False, False)),
        (0b11 << AP, Permissions(True, True, False, False)),
        (0b10 << AP | PXN, Permissions(False, True, False, False)),
        (0b10 << AP | UXN, Permissions(True, False, False, False)),
        (0b11 << AP | UXN | PXN, Permissions(False, False, False, False)),
    ],
)
@pytest.mark.parametrize("gva", [GVA, 0x40_0000])
def test_a_page(leaf: int, right: Permissions, gva: int) -> None:
    assert at(leaf, gva=gva) == right


@pytest.mark.parametrize(
    ("table", "right"),
    [
        (PXN_TABLE, Permissions(False, True, True, True)),
        (UXN_TABLE, Permissions(False, False, True, True)),
        (0b01 << AP_TABLE, Permissions(True, True, True, False)),
        (0b10 << AP_TABLE, Permissions(True, True, False, False)),
    ],
)
def test_tables_take_permissions_away_unless_that_is_switched_off(
    table: int, right: Permissions
) -> None:
    page = 0b01 << AP
    assert at(page, table=table) == right
    assert at(page, table=table, HPD1=1) == at(page)
    assert at(page, table=table, HPD0=1) == right


def test_what_may_be_written_may_not_be_executed_where_wxn_says_so() -> None:
    wxn = SCTLR.of(M=1, WXN=1)
    assert at(0b00 << AP, sctlr=wxn) == Permissions(False, True, True, False)
    assert at(0b01 << AP, sctlr=wxn) == Permissions(False, False, True, True)
    assert at(0b10 << AP, sctlr=wxn) == Permissions(True, True, False, False)


def test_a_page_that_hardware_marks_dirty_is_writable() -> None:
    clean = 0b10 << AP | 1 << 51
    assert at(clean, HA=1, HD=1) == at(0b00 << AP)
    assert at(clean, HA=1) == at(clean, HD=1) == at(clean) == at(0b10 << AP)
    assert at(0b11 << AP | 1 << 51, HA=1, HD=1) == at(0b01 << AP)
    assert at(clean, table=0b10 << AP_TABLE, HA=1, HD=1) == at(0b10 << AP)
    assert not at(clean, HA=1, HD=1, sctlr=SCTLR.of(M=1, WXN=1)).el1_executes


def test_without_a_translation_and_without_an_mmu() -> None:
    tables = Tables()
    on = Regime(SCTLR.of(M=1), TCR.of(**tables.tcr()), 0, tables.ttbr)
    assert permissions(walk(on, GVA, tables.read)) == NONE
    off = on._replace(sctlr=SCTLR())
    assert permissions(walk(off, 0x4000_0000, tables.read)) == ALL
