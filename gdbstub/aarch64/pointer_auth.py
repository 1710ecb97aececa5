"""Bits of a signed pointer that hold its PAC.

Source: Arm ARM D8.8 (FEAT_PAuth), CalculateBottomPACBit, AddPAC.
"""

from typing import Final

from gdbstub.aarch64.sysreg import SCTLR, TCR

_TOP_BYTE: Final = 0xFF << 56
#: Bit 55 chooses the half of the address space, and no PAC goes there.
_TOP_BIT: Final = 54
#: TnSZ of the largest space (FEAT_LVA3) and of the smallest (FEAT_TTST).
_SIZES: Final = range(9, 48 + 1)


def pac_mask(sctlr: SCTLR, tcr: TCR, *, high: bool, code: bool) -> int:
    """Return the bits that hold the PAC of a pointer to the low or *high* half, to *code* or data.

    They are never bits of a valid address. The mask is 0 while the MMU is off, since addresses
    are physical ones then, and if TCR_EL1 holds a size that no implementation has.
    """
    tsz, tbi, tbid = (tcr.T1SZ, tcr.TBI1, tcr.TBID1) if high else (tcr.T0SZ, tcr.TBI0, tcr.TBID0)
    if not sctlr.M or tsz not in _SIZES:
        return 0
    below = (1 << min(64 - tsz, _TOP_BIT + 1)) - 1
    ignored = tbi and not (code and tbid)
    return (1 << _TOP_BIT + 1) - 1 & ~below | (0 if ignored else _TOP_BYTE)
