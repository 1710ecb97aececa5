"""AArch64 system registers, field for field as the Arm ARM names them (chapter D19).

Only fields that the stub reads or builds stand here; values come from a ``Vcpu``.
"""

from enum import IntEnum

from gdbstub.bits import Bits, Word


class PSTATE(Word):
    """Process state, laid out as SPSR_EL1 holds it (Arm ARM C5.2.19)."""

    NZCV = Bits(31, 28)
    N = Bits(31)
    Z = Bits(30)
    C = Bits(29)
    V = Bits(28)
    TCO = Bits(25)
    DIT = Bits(24)
    UAO = Bits(23)
    PAN = Bits(22)
    SS = Bits(21)
    IL = Bits(20)
    ALLINT = Bits(13)
    SSBS = Bits(12)
    BTYPE = Bits(11, 10)
    DAIF = Bits(9, 6)
    D = Bits(9)
    A = Bits(8)
    I = Bits(7)  # noqa: E741
    F = Bits(6)
    nRW = Bits(4)
    EL = Bits(3, 2)
    SP = Bits(0)


class EC(IntEnum):
    """ESR_ELx.EC of the exceptions that a debugger meets; lower EL first, then same EL."""

    BREAKPOINT_LOWER = 0x30
    BREAKPOINT_SAME = 0x31
    STEP_LOWER = 0x32
    STEP_SAME = 0x33
    WATCHPOINT_LOWER = 0x34
    WATCHPOINT_SAME = 0x35
    BKPT32 = 0x38
    BRK64 = 0x3C


class ESR(Word):
    """ESR_ELx, Exception Syndrome Register; ISS fields of the debug exceptions."""

    EC = Bits(31, 26)
    IL = Bits(25)
    ISS = Bits(24, 0)
    comment = Bits(15, 0)  # BRK, BKPT
    ISV = Bits(24)  # software step
    EX = Bits(6)  # software step: a load-exclusive was stepped
    WPT = Bits(23, 18)  # watchpoint number, where WPTV says so
    WPTV = Bits(17)
    CM = Bits(8)  # cache maintenance
    WnR = Bits(6)  # watchpoint: a write


class SCTLR(Word):
    """SCTLR_EL1, System Control Register."""

    DSSBS = Bits(44)
    EE = Bits(25)
    SPAN = Bits(23)
    I = Bits(12)  # noqa: E741
    C = Bits(2)
    M = Bits(0)


class TCR(Word):
    """TCR_EL1, Translation Control Register."""

    DS = Bits(59)
    TBI1 = Bits(38)
    TBI0 = Bits(37)
    IPS = Bits(34, 32)
    TG1 = Bits(31, 30)
    EPD1 = Bits(23)
    T1SZ = Bits(21, 16)
    TG0 = Bits(15, 14)
    EPD0 = Bits(7)
    T0SZ = Bits(5, 0)


class MDSCR(Word):
    """MDSCR_EL1, Monitor Debug System Control Register."""

    MDE = Bits(15)
    KDE = Bits(13)
    SS = Bits(0)


class DBGBCR(Word):
    """DBGBCR<n>_EL1, Debug Breakpoint Control Registers."""

    BT = Bits(23, 20)
    LBN = Bits(19, 16)
    SSC = Bits(15, 14)
    HMC = Bits(13)
    BAS = Bits(8, 5)
    PMC = Bits(2, 1)
    E = Bits(0)


class DBGWCR(Word):
    """DBGWCR<n>_EL1, Debug Watchpoint Control Registers."""

    MASK = Bits(28, 24)
    WT = Bits(20)
    LBN = Bits(19, 16)
    SSC = Bits(15, 14)
    HMC = Bits(13)
    BAS = Bits(12, 5)
    LSC = Bits(4, 3)
    PAC = Bits(2, 1)
    E = Bits(0)
