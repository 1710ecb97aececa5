"""AArch64 system registers, field for field as the Arm ARM names them (chapter D19).

Only registers that the stub reads, builds or shows by their fields are here; values come from a
``Vcpu``. A field added to a class is shown to clients without any other change.
"""

from typing import Final

from gdbstub.aarch64.bits import Bits, Operand, Word

#: The class that has the fields of a register, by ``Register.type``.
FIELDS: Final[dict[str, type["Fields"]]] = {}


class Fields(Word):
    """A register's value by its fields; each subclass is a type of registers for clients."""

    def __init_subclass__(cls, types: tuple[str, ...] = ()) -> None:
        """Make the class known as *types*; by default, as the type of its own name."""
        FIELDS.update(dict.fromkeys(types or (cls.__name__,), cls))


class PSTATE(Fields, types=("cpsr_flags", "SPSR")):
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


class EC:
    """ESR_ELx.EC of debug exceptions, from a lower exception level and from the same one.

    Plain numbers: each exit is compared with several, and a member of an ``Enum`` is found slowly.
    """

    INSTRUCTION_ABORT_LOWER: Final = 0x20
    INSTRUCTION_ABORT_SAME: Final = 0x21
    BREAKPOINT_LOWER: Final = 0x30
    BREAKPOINT_SAME: Final = 0x31
    STEP_LOWER: Final = 0x32
    STEP_SAME: Final = 0x33
    WATCHPOINT_LOWER: Final = 0x34
    WATCHPOINT_SAME: Final = 0x35
    BKPT32: Final = 0x38
    BRK64: Final = 0x3C


class ESR(Fields):
    """ESR_ELx, Exception Syndrome Register; ISS fields of the debug exceptions."""

    ISS2 = Bits(55, 32)
    EC = Operand(31, 26)
    IL = Bits(25)
    ISS = Bits(24, 0)
    comment = Bits(15, 0)  # BRK, BKPT
    ISV = Bits(24)  # software step
    EX = Bits(6)  # software step: a load-exclusive was stepped
    WPT = Bits(23, 18)  # watchpoint number, if WPTV is set
    WPTV = Bits(17)
    CM = Bits(8)  # cache maintenance
    WnR = Bits(6)  # watchpoint: a write


class SCTLR(Fields):
    """SCTLR_EL1, System Control Register."""

    TIDCP = Bits(63)
    SPINTMASK = Bits(62)
    NMI = Bits(61)
    EnTP2 = Bits(60)
    TCSO = Bits(59)
    TCSO0 = Bits(58)
    EPAN = Bits(57)
    EnALS = Bits(56)
    EnAS0 = Bits(55)
    EnASR = Bits(54)
    TME = Bits(53)
    TME0 = Bits(52)
    TMT = Bits(51)
    TMT0 = Bits(50)
    TWEDEL = Bits(49, 46)
    TWEDEn = Bits(45)
    DSSBS = Bits(44)
    ATA = Bits(43)
    ATA0 = Bits(42)
    TCF = Bits(41, 40)
    TCF0 = Bits(39, 38)
    ITFSB = Bits(37)
    BT1 = Bits(36)
    BT0 = Bits(35)
    EnFPM = Bits(34)
    MSCEn = Bits(33)
    CMOW = Bits(32)
    EnIA = Bits(31)
    EnIB = Bits(30)
    LSMAOE = Bits(29)
    nTLSMD = Bits(28)
    EnDA = Bits(27)
    UCI = Bits(26)
    EE = Bits(25)
    E0E = Bits(24)
    SPAN = Bits(23)
    EIS = Bits(22)
    IESB = Bits(21)
    TSCXT = Bits(20)
    WXN = Bits(19)
    nTWE = Bits(18)
    nTWI = Bits(16)
    UCT = Bits(15)
    DZE = Bits(14)
    EnDB = Bits(13)
    I = Bits(12)  # noqa: E741
    EOS = Bits(11)
    EnRCTX = Bits(10)
    UMA = Bits(9)
    SED = Bits(8)
    ITD = Bits(7)
    nAA = Bits(6)
    CP15BEN = Bits(5)
    SA0 = Bits(4)
    SA = Bits(3)
    C = Bits(2)
    A = Bits(1)
    M = Bits(0)


class CPACR(Fields):
    """CPACR_EL1, Architectural Feature Access Control Register."""

    TAM = Bits(30)
    E0POE = Bits(29)
    TTA = Bits(28)
    SMEN = Bits(25, 24)
    FPEN = Bits(21, 20)
    ZEN = Bits(17, 16)


class TCR(Fields):
    """TCR_EL1, Translation Control Register."""

    MTX1 = Bits(61)
    MTX0 = Bits(60)
    DS = Bits(59)
    TCMA1 = Bits(58)
    TCMA0 = Bits(57)
    E0PD1 = Bits(56)
    E0PD0 = Bits(55)
    NFD1 = Bits(54)
    NFD0 = Bits(53)
    TBID1 = Bits(52)
    TBID0 = Bits(51)
    HWU162 = Bits(50)
    HWU161 = Bits(49)
    HWU160 = Bits(48)
    HWU159 = Bits(47)
    HWU062 = Bits(46)
    HWU061 = Bits(45)
    HWU060 = Bits(44)
    HWU059 = Bits(43)
    HPD1 = Bits(42)
    HPD0 = Bits(41)
    HD = Bits(40)
    HA = Bits(39)
    TBI1 = Bits(38)
    TBI0 = Bits(37)
    AS = Bits(36)
    IPS = Bits(34, 32)
    TG1 = Bits(31, 30)
    SH1 = Bits(29, 28)
    ORGN1 = Bits(27, 26)
    IRGN1 = Bits(25, 24)
    EPD1 = Bits(23)
    A1 = Bits(22)
    T1SZ = Bits(21, 16)
    TG0 = Bits(15, 14)
    SH0 = Bits(13, 12)
    ORGN0 = Bits(11, 10)
    IRGN0 = Bits(9, 8)
    EPD0 = Bits(7)
    T0SZ = Bits(5, 0)


class MDSCR(Fields):
    """MDSCR_EL1, Monitor Debug System Control Register."""

    EnSTEPOP = Bits(50)
    EHBWE = Bits(35)
    EnSPM = Bits(34)
    TTA = Bits(33)
    EMBWE = Bits(32)
    TFO = Bits(31)
    RXfull = Bits(30)
    TXfull = Bits(29)
    RXO = Bits(27)
    TXU = Bits(26)
    INTdis = Bits(23, 22)
    TDA = Bits(21)
    SC2 = Bits(19)
    MDE = Bits(15)
    HDE = Bits(14)
    KDE = Bits(13)
    TDCC = Bits(12)
    ERR = Bits(6)
    SS = Bits(0)


class DCZID(Fields):
    """DCZID_EL0, Data Cache Zero ID Register."""

    DZP = Bits(4)
    BS = Bits(3, 0)


class DBGBCR(Fields):
    """DBGBCR<n>_EL1, Debug Breakpoint Control Registers."""

    BT = Bits(23, 20)
    LBN = Bits(19, 16)
    SSC = Bits(15, 14)
    HMC = Bits(13)
    BAS = Bits(8, 5)
    PMC = Bits(2, 1)
    E = Bits(0)


class DBGWCR(Fields):
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


class ID_AA64PFR0(Fields):
    """ID_AA64PFR0_EL1, AArch64 Processor Feature Register 0."""

    CSV3 = Bits(63, 60)
    CSV2 = Bits(59, 56)
    RME = Bits(55, 52)
    DIT = Bits(51, 48)
    AMU = Bits(47, 44)
    MPAM = Bits(43, 40)
    SEL2 = Bits(39, 36)
    SVE = Bits(35, 32)
    RAS = Bits(31, 28)
    GIC = Bits(27, 24)
    AdvSIMD = Bits(23, 20)
    FP = Bits(19, 16)
    EL3 = Bits(15, 12)
    EL2 = Bits(11, 8)
    EL1 = Bits(7, 4)
    EL0 = Bits(3, 0)


class ID_AA64PFR1(Fields):
    """ID_AA64PFR1_EL1, AArch64 Processor Feature Register 1."""

    PFAR = Bits(63, 60)
    DF2 = Bits(59, 56)
    MTEX = Bits(55, 52)
    THE = Bits(51, 48)
    GCS = Bits(47, 44)
    MTE_frac = Bits(43, 40)
    NMI = Bits(39, 36)
    CSV2_frac = Bits(35, 32)
    RNDR_trap = Bits(31, 28)
    SME = Bits(27, 24)
    MPAM_frac = Bits(19, 16)
    RAS_frac = Bits(15, 12)
    MTE = Bits(11, 8)
    SSBS = Bits(7, 4)
    BT = Bits(3, 0)


class ID_AA64DFR0(Fields):
    """ID_AA64DFR0_EL1, AArch64 Debug Feature Register 0."""

    HPMN0 = Bits(63, 60)
    ExtTrcBuff = Bits(59, 56)
    BRBE = Bits(55, 52)
    MTPMU = Bits(51, 48)
    TraceBuffer = Bits(47, 44)
    TraceFilt = Bits(43, 40)
    DoubleLock = Bits(39, 36)
    PMSVer = Bits(35, 32)
    CTX_CMPs = Bits(31, 28)
    SEBEP = Bits(27, 24)
    WRPs = Bits(23, 20)
    PMSS = Bits(19, 16)
    BRPs = Bits(15, 12)
    PMUVer = Bits(11, 8)
    TraceVer = Bits(7, 4)
    DebugVer = Bits(3, 0)


class ID_AA64MMFR0(Fields):
    """ID_AA64MMFR0_EL1, AArch64 Memory Model Feature Register 0."""

    ECV = Bits(63, 60)
    FGT = Bits(59, 56)
    ExS = Bits(47, 44)
    TGran4_2 = Bits(43, 40)
    TGran64_2 = Bits(39, 36)
    TGran16_2 = Bits(35, 32)
    TGran4 = Bits(31, 28)
    TGran64 = Bits(27, 24)
    TGran16 = Bits(23, 20)
    BigEndEL0 = Bits(19, 16)
    SNSMem = Bits(15, 12)
    BigEnd = Bits(11, 8)
    ASIDBits = Bits(7, 4)
    PARange = Bits(3, 0)
