"""The bits of a pointer's PAC, compared with those of Linux configurations."""

import pytest

from gdbstub.aarch64.pointer_auth import pac_mask
from gdbstub.aarch64.sysreg import SCTLR, TCR

ON = SCTLR.of(M=1)


def genmask(high: int, low: int) -> int:
    return sum(1 << bit for bit in range(low, high + 1))


def masks(tcr: TCR, sctlr: SCTLR = ON) -> list[int]:
    """Return the masks for data and code, of the low half and then the high half: GDB's order."""
    return [
        pac_mask(sctlr, tcr, high=high, code=code)
        for high in (False, True)
        for code in (False, True)
    ]


@pytest.mark.parametrize("va_bits", [36, 39, 42, 47, 48, 52])
def test_linux(va_bits: int) -> None:
    # TBI0 for user space's data, nothing for the kernel's (linux/arch/arm64/mm/proc.S); the
    # user's mask is what NT_ARM_PAC_MASK says (arch/arm64/include/asm/pointer_auth.h).
    tcr = TCR.of(T0SZ=64 - va_bits, T1SZ=64 - va_bits, TBI0=1)
    pac = genmask(54, va_bits)
    high = pac | genmask(63, 56)
    assert masks(tcr) == [pac, pac, high, high]


def test_the_top_byte_of_code_counts_where_it_is_ignored_for_data_alone() -> None:
    tcr = TCR.of(T0SZ=16, T1SZ=16, TBI0=1, TBI1=1, TBID1=1)
    pac = genmask(54, 48)
    assert masks(tcr) == [pac, pac, pac, pac | genmask(63, 56)]


def test_halves_have_sizes_of_their_own() -> None:
    tcr = TCR.of(T0SZ=28, T1SZ=12, TBI0=1, TBI1=1)
    assert masks(tcr) == [genmask(54, 36)] * 2 + [genmask(54, 52)] * 2


def test_before_the_mmu_is_on_addresses_are_physical() -> None:
    assert masks(TCR.of(T0SZ=25, T1SZ=25), SCTLR(0)) == [0] * 4


@pytest.mark.parametrize("tsz", [0, 8, 49, 63])
def test_a_size_that_nothing_can_have_signs_nothing(tsz: int) -> None:
    assert masks(TCR.of(T0SZ=tsz, T1SZ=tsz)) == [0] * 4


@pytest.mark.parametrize("tsz", range(64))
def test_no_bit_of_a_valid_address_is_in_a_mask_nor_what_chooses_the_half(tsz: int) -> None:
    for mask in masks(TCR.of(T0SZ=tsz, T1SZ=tsz)):
        assert mask & ((1 << 64 - tsz) - 1 | 1 << 55) == 0
