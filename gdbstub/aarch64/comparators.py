"""What a breakpoint comparator is written with.

Watchpoints' values depend on what is watched; ``gdbstub/hwbp.py`` has them.
"""

from typing import Final

from gdbstub.aarch64.sysreg import DBGBCR

#: Enabled, an unlinked address match of a whole instruction, at EL1 and EL0.
ENABLED_BREAKPOINT: Final = DBGBCR(E=1, PMC=0b11, BAS=0b1111)

_VA_BITS: Final = 53


def canonical(gva: int) -> int:
    """*gva* as a comparator wants it: its top bits repeat bit 52 (DBGBVR.RESS)."""
    low = gva & (1 << _VA_BITS) - 1
    sign = 1 << _VA_BITS - 1
    return ((low ^ sign) - sign) & (1 << 64) - 1


def breakpoint_at(gva: int) -> tuple[int, int]:
    """DBGBCR and DBGBVR that stop at *gva*."""
    return int(ENABLED_BREAKPOINT), canonical(gva) & -4
