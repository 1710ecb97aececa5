"""Values of the registers of breakpoint comparators.

Those of watchpoint comparators depend on what is watched: see ``gdbstub/hwbp.py``.
"""

from typing import Final

from gdbstub.aarch64.sysreg import DBGBCR

#: Enabled, an unlinked address match of a whole instruction, at EL1 and EL0.
ENABLED_BREAKPOINT: Final = DBGBCR.of(E=1, PMC=0b11, BAS=0b1111)

_VA_BITS: Final = 53


def canonical(gva: int) -> int:
    """Return *gva* with its top bits equal to bit 52, as a comparator needs it (DBGBVR.RESS)."""
    low = gva & (1 << _VA_BITS) - 1
    sign = 1 << _VA_BITS - 1
    return ((low ^ sign) - sign) & (1 << 64) - 1


def breakpoint_at(gva: int) -> tuple[int, int]:
    """Return the DBGBCR and DBGBVR of a breakpoint at *gva*."""
    return int(ENABLED_BREAKPOINT), canonical(gva) & -4
