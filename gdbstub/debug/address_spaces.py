"""Address spaces of a guest: the tables and the ASID that an address was asked for in.

It translates nothing. Source: Arm ARM D8.2 "Translation process", D8.16 "ASID".
"""

from typing import Final, NamedTuple

from gdbstub.aarch64.mmu import Regime

#: The base of a table in a TTBR, without ASID and CnP.
TABLE: Final = (1 << 48) - 2
_ASID_SHIFT: Final = 48
_UPPER: Final = 1 << 55
#: The first page, which every kernel keeps unmapped so that a null pointer faults.
_FIRST_PAGE: Final = 4096


class AddressSpace(NamedTuple):
    """One set of tables: the base that a TTBR holds, and the ASID beside it.

    Linux with KPTI gives a process two ASIDs, which differ in bit 0 (USER_ASID_BIT): that bit is
    0 here. An address of the upper half belongs to a kernel, which has no ASID: it is 0.
    """

    table: int
    asid: int


def is_upper(gva: int) -> bool:
    """Return True if TTBR1_EL1 translates *gva*."""
    return bool(gva & _UPPER)


def space_of(regime: Regime, gva: int) -> AddressSpace | None:
    """Return the space that *gva* belongs to by *regime*; None with the MMU off, or no tables."""
    if not regime.sctlr.M:
        return None
    if is_upper(gva):
        return None if regime.tcr.EPD1 else AddressSpace(regime.ttbr1 & TABLE, 0)
    if regime.tcr.EPD0:
        return None
    asid = (regime.ttbr1 if regime.tcr.A1 else regime.ttbr0) >> _ASID_SHIFT
    asid &= 0xFFFE if regime.tcr.AS else 0xFE
    return AddressSpace(regime.ttbr0 & TABLE, asid)


def unreachable(regime: Regime, gva: int) -> str:
    """Say why nothing can ever execute at *gva* while the MMU is on; empty if something can."""
    if not regime.sctlr.M:
        return ""
    if gva < _FIRST_PAGE:
        return "it is in the first page, which a kernel never maps"
    upper, tcr = is_upper(gva), regime.tcr
    bits = 64 - (tcr.T1SZ if upper else tcr.T0SZ)
    ones = (1 << 64 - bits) - 1  # also with TBI: a program counter has no tag
    if gva >> bits & ones != (ones if upper else 0):
        return f"it is no address of {bits} bits: a program counter cannot hold it"
    return ""
