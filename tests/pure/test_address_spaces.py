"""Address spaces: whose tables an address is looked up in, and what no program counter holds."""

import pytest

from gdbstub.aarch64.mmu import Regime
from gdbstub.aarch64.sysreg import SCTLR, TCR
from gdbstub.debug.address_spaces import AddressSpace, space_of, unreachable

UPPER, LOWER = 0xFFFF_8000_0000_0000, 0x40_0000
ON = SCTLR.of(M=1)


def regime(asid0: int = 0, asid1: int = 0, **tcr: int) -> Regime:
    fields = {"T0SZ": 16, "T1SZ": 16, "AS": 1} | tcr
    return Regime(ON, TCR.of(**fields), 0x4000_1001 | asid0 << 48, 0x4000_2000 | asid1 << 48)


def test_a_space_is_a_table_and_an_asid() -> None:
    assert space_of(regime(asid0=6), LOWER) == AddressSpace(0x4000_1000, 6)
    assert space_of(regime(asid0=6, asid1=8, A1=1), LOWER) == AddressSpace(0x4000_1000, 8)
    assert space_of(regime(asid0=0x106, AS=0), LOWER) == AddressSpace(0x4000_1000, 6)
    assert space_of(regime(asid1=8), UPPER) == AddressSpace(0x4000_2000, 0)


def test_both_asids_of_a_process_under_kpti_are_one_space() -> None:
    assert space_of(regime(asid1=8, A1=1), LOWER) == space_of(regime(asid1=9, A1=1), LOWER)


def test_there_is_none_without_tables() -> None:
    assert space_of(regime(EPD0=1), LOWER) is None
    assert space_of(regime(EPD1=1), UPPER) is None
    assert space_of(regime()._replace(sctlr=SCTLR()), LOWER) is None


@pytest.mark.parametrize(
    ("gva", "tcr", "why"),
    [
        (0, {}, "first page"),
        (0xFFC, {}, "first page"),
        (0x1000, {}, ""),
        (0x0000_FFFF_FFFF_FFFC, {}, ""),
        (0x0001_0000_0000_0000, {}, "no address of 48 bits"),
        (0xDEAD_0000_0000_0100, {}, "no address of 48 bits"),
        (0xFFFE_FFFF_FFFF_FFFC, {}, "no address of 48 bits"),
        (0xFFFF_0000_0000_0000, {}, ""),
        (0xFFFF_0000_0000_0000, {"T1SZ": 25}, "no address of 39 bits"),
        (0x5A00_0000_0040_0000, {}, "no address of 48 bits"),
        (0x5A00_0000_0040_0000, {"TBI0": 1}, "no address of 48 bits"),
    ],
)
def test_what_nothing_can_execute(gva: int, tcr: dict[str, int], why: str) -> None:
    said = unreachable(regime(**tcr), gva)
    assert why in said
    assert bool(why) == bool(said)
    assert unreachable(regime(**tcr)._replace(sctlr=SCTLR()), gva) == ""
