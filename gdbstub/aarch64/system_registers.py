"""The system registers that KVM may show, by name and encoding (Arm ARM D19; linux sys_regs.c).

``registers.py`` makes rows with KVM's ids of them; each machine has only some of these.
"""

from typing import Final, NamedTuple

from gdbstub.aarch64.sysreg import (
    CPACR,
    DBGBCR,
    DBGWCR,
    DCZID,
    ESR,
    ID_AA64DFR0,
    ID_AA64MMFR0,
    ID_AA64PFR0,
    ID_AA64PFR1,
    MDSCR,
    SCTLR,
    TCR,
    Fields,
)


class Mrs(NamedTuple):
    """A register as MRS reads it: name, encoding, and the type that a client shows it by.

    The type is one that the protocol predefines, or the class with the register's fields.
    """

    name: str
    op0: int
    op1: int
    crn: int
    crm: int
    op2: int
    shown_as: str | type[Fields] = "uint64"


def _events(name: str, crm: int) -> list[Mrs]:
    """Return a row for each event counter of the PMU."""
    return [Mrs(name.format(n), 3, 3, 14, crm + n // 8, n % 8) for n in range(31)]


def _comparators(name: str, op2: int, type_: str | type[Fields] = "uint64") -> list[Mrs]:
    """Return a row for each breakpoint or watchpoint."""
    return [Mrs(name.format(n), 2, 0, 0, n, op2, type_) for n in range(16)]


#: A row's place here gives the register's number: a new row goes to the end.
TABLE: Final = (
    # Control and translation.
    Mrs("SCTLR_EL1", 3, 0, 1, 0, 0, SCTLR),
    Mrs("ACTLR_EL1", 3, 0, 1, 0, 1),
    Mrs("CPACR_EL1", 3, 0, 1, 0, 2, CPACR),
    Mrs("SCTLR2_EL1", 3, 0, 1, 0, 3),
    Mrs("TTBR0_EL1", 3, 0, 2, 0, 0),
    Mrs("TTBR1_EL1", 3, 0, 2, 0, 1),
    Mrs("TCR_EL1", 3, 0, 2, 0, 2, TCR),
    Mrs("TCR2_EL1", 3, 0, 2, 0, 3),
    Mrs("MAIR_EL1", 3, 0, 10, 2, 0),
    Mrs("MAIR2_EL1", 3, 0, 10, 2, 1),
    Mrs("PIRE0_EL1", 3, 0, 10, 2, 2),
    Mrs("PIR_EL1", 3, 0, 10, 2, 3),
    Mrs("POR_EL1", 3, 0, 10, 2, 4),
    Mrs("POR_EL0", 3, 3, 10, 2, 4),
    Mrs("S2POR_EL1", 3, 0, 10, 2, 5),
    Mrs("AMAIR_EL1", 3, 0, 10, 3, 0),
    Mrs("AMAIR2_EL1", 3, 0, 10, 3, 1),
    Mrs("PAR_EL1", 3, 0, 7, 4, 0),
    # Exceptions.
    Mrs("VBAR_EL1", 3, 0, 12, 0, 0, "code_ptr"),
    Mrs("ESR_EL1", 3, 0, 5, 2, 0, ESR),
    Mrs("FAR_EL1", 3, 0, 6, 0, 0, "data_ptr"),
    Mrs("AFSR0_EL1", 3, 0, 5, 1, 0),
    Mrs("AFSR1_EL1", 3, 0, 5, 1, 1),
    Mrs("DISR_EL1", 3, 0, 12, 1, 1),
    Mrs("ERRSELR_EL1", 3, 0, 5, 3, 1),
    # Threads and processes.
    Mrs("CONTEXTIDR_EL1", 3, 0, 13, 0, 1),
    Mrs("TPIDR_EL1", 3, 0, 13, 0, 4, "data_ptr"),
    Mrs("TPIDR_EL0", 3, 3, 13, 0, 2, "data_ptr"),
    Mrs("TPIDRRO_EL0", 3, 3, 13, 0, 3, "data_ptr"),
    Mrs("TPIDR2_EL0", 3, 3, 13, 0, 5, "data_ptr"),
    Mrs("SCXTNUM_EL1", 3, 0, 13, 0, 7),
    Mrs("SCXTNUM_EL0", 3, 3, 13, 0, 7),
    # Timers.
    Mrs("CNTKCTL_EL1", 3, 0, 14, 1, 0),
    Mrs("CNTVCT_EL0", 3, 3, 14, 0, 2),
    Mrs("CNTV_CTL_EL0", 3, 3, 14, 3, 1),
    Mrs("CNTV_CVAL_EL0", 3, 3, 14, 3, 2),
    Mrs("CNTPCT_EL0", 3, 3, 14, 0, 1),
    Mrs("CNTP_CTL_EL0", 3, 3, 14, 2, 1),
    Mrs("CNTP_CVAL_EL0", 3, 3, 14, 2, 2),
    # The guest's own debugging.
    Mrs("MDSCR_EL1", 2, 0, 0, 2, 2, MDSCR),
    Mrs("MDCCINT_EL1", 2, 0, 0, 2, 0),
    Mrs("OSLSR_EL1", 2, 0, 1, 1, 4),
    *_comparators("DBGBVR{}_EL1", 4),
    *_comparators("DBGBCR{}_EL1", 5, DBGBCR),
    *_comparators("DBGWVR{}_EL1", 6),
    *_comparators("DBGWCR{}_EL1", 7, DBGWCR),
    # For AArch32 below EL1.
    Mrs("DBGVCR32_EL2", 2, 4, 0, 7, 0),
    Mrs("DACR32_EL2", 3, 4, 3, 0, 0),
    Mrs("IFSR32_EL2", 3, 4, 5, 0, 1),
    Mrs("FPEXC32_EL2", 3, 4, 5, 3, 0),
    # Identification of the CPU.
    Mrs("MIDR_EL1", 3, 0, 0, 0, 0),
    Mrs("MPIDR_EL1", 3, 0, 0, 0, 5),
    Mrs("REVIDR_EL1", 3, 0, 0, 0, 6),
    Mrs("AIDR_EL1", 3, 1, 0, 0, 7),
    Mrs("CTR_EL0", 3, 3, 0, 0, 1),
    Mrs("CLIDR_EL1", 3, 1, 0, 0, 1),
    Mrs("CSSELR_EL1", 3, 2, 0, 0, 0),
    # Features.
    Mrs("ID_AA64PFR0_EL1", 3, 0, 0, 4, 0, ID_AA64PFR0),
    Mrs("ID_AA64PFR1_EL1", 3, 0, 0, 4, 1, ID_AA64PFR1),
    Mrs("ID_AA64PFR2_EL1", 3, 0, 0, 4, 2),
    Mrs("ID_AA64ZFR0_EL1", 3, 0, 0, 4, 4),
    Mrs("ID_AA64SMFR0_EL1", 3, 0, 0, 4, 5),
    Mrs("ID_AA64FPFR0_EL1", 3, 0, 0, 4, 7),
    Mrs("ID_AA64DFR0_EL1", 3, 0, 0, 5, 0, ID_AA64DFR0),
    Mrs("ID_AA64DFR1_EL1", 3, 0, 0, 5, 1),
    Mrs("ID_AA64DFR2_EL1", 3, 0, 0, 5, 2),
    Mrs("ID_AA64AFR0_EL1", 3, 0, 0, 5, 4),
    Mrs("ID_AA64AFR1_EL1", 3, 0, 0, 5, 5),
    Mrs("ID_AA64ISAR0_EL1", 3, 0, 0, 6, 0),
    Mrs("ID_AA64ISAR1_EL1", 3, 0, 0, 6, 1),
    Mrs("ID_AA64ISAR2_EL1", 3, 0, 0, 6, 2),
    Mrs("ID_AA64ISAR3_EL1", 3, 0, 0, 6, 3),
    Mrs("ID_AA64MMFR0_EL1", 3, 0, 0, 7, 0, ID_AA64MMFR0),
    Mrs("ID_AA64MMFR1_EL1", 3, 0, 0, 7, 1),
    Mrs("ID_AA64MMFR2_EL1", 3, 0, 0, 7, 2),
    Mrs("ID_AA64MMFR3_EL1", 3, 0, 0, 7, 3),
    Mrs("ID_AA64MMFR4_EL1", 3, 0, 0, 7, 4),
    # Features in AArch32 state.
    Mrs("ID_PFR0_EL1", 3, 0, 0, 1, 0),
    Mrs("ID_PFR1_EL1", 3, 0, 0, 1, 1),
    Mrs("ID_DFR0_EL1", 3, 0, 0, 1, 2),
    Mrs("ID_AFR0_EL1", 3, 0, 0, 1, 3),
    Mrs("ID_MMFR0_EL1", 3, 0, 0, 1, 4),
    Mrs("ID_MMFR1_EL1", 3, 0, 0, 1, 5),
    Mrs("ID_MMFR2_EL1", 3, 0, 0, 1, 6),
    Mrs("ID_MMFR3_EL1", 3, 0, 0, 1, 7),
    Mrs("ID_ISAR0_EL1", 3, 0, 0, 2, 0),
    Mrs("ID_ISAR1_EL1", 3, 0, 0, 2, 1),
    Mrs("ID_ISAR2_EL1", 3, 0, 0, 2, 2),
    Mrs("ID_ISAR3_EL1", 3, 0, 0, 2, 3),
    Mrs("ID_ISAR4_EL1", 3, 0, 0, 2, 4),
    Mrs("ID_ISAR5_EL1", 3, 0, 0, 2, 5),
    Mrs("ID_MMFR4_EL1", 3, 0, 0, 2, 6),
    Mrs("ID_ISAR6_EL1", 3, 0, 0, 2, 7),
    Mrs("MVFR0_EL1", 3, 0, 0, 3, 0),
    Mrs("MVFR1_EL1", 3, 0, 0, 3, 1),
    Mrs("MVFR2_EL1", 3, 0, 0, 3, 2),
    Mrs("ID_PFR2_EL1", 3, 0, 0, 3, 4),
    Mrs("ID_DFR1_EL1", 3, 0, 0, 3, 5),
    Mrs("ID_MMFR5_EL1", 3, 0, 0, 3, 6),
    # Scalable vectors and matrices, memory tags, pointer authentication, guarded stacks.
    Mrs("ZCR_EL1", 3, 0, 1, 2, 0),
    Mrs("SMCR_EL1", 3, 0, 1, 2, 6),
    Mrs("SMPRI_EL1", 3, 0, 1, 2, 4),
    Mrs("SMIDR_EL1", 3, 1, 0, 0, 6),
    Mrs("SVCR", 3, 3, 4, 2, 2),
    Mrs("FPMR", 3, 3, 4, 4, 2),
    Mrs("RGSR_EL1", 3, 0, 1, 0, 5),
    Mrs("GCR_EL1", 3, 0, 1, 0, 6),
    Mrs("TFSR_EL1", 3, 0, 5, 6, 0),
    Mrs("TFSRE0_EL1", 3, 0, 5, 6, 1),
    Mrs("GMID_EL1", 3, 1, 0, 0, 4),
    Mrs("APIAKeyLo_EL1", 3, 0, 2, 1, 0),
    Mrs("APIAKeyHi_EL1", 3, 0, 2, 1, 1),
    Mrs("APIBKeyLo_EL1", 3, 0, 2, 1, 2),
    Mrs("APIBKeyHi_EL1", 3, 0, 2, 1, 3),
    Mrs("APDAKeyLo_EL1", 3, 0, 2, 2, 0),
    Mrs("APDAKeyHi_EL1", 3, 0, 2, 2, 1),
    Mrs("APDBKeyLo_EL1", 3, 0, 2, 2, 2),
    Mrs("APDBKeyHi_EL1", 3, 0, 2, 2, 3),
    Mrs("APGAKeyLo_EL1", 3, 0, 2, 3, 0),
    Mrs("APGAKeyHi_EL1", 3, 0, 2, 3, 1),
    Mrs("GCSCR_EL1", 3, 0, 2, 5, 0),
    Mrs("GCSPR_EL1", 3, 0, 2, 5, 1, "data_ptr"),
    Mrs("GCSCRE0_EL1", 3, 0, 2, 5, 2),
    Mrs("GCSPR_EL0", 3, 3, 2, 5, 1, "data_ptr"),
    # Performance monitors.
    Mrs("PMCR_EL0", 3, 3, 9, 12, 0),
    Mrs("PMCNTENSET_EL0", 3, 3, 9, 12, 1),
    Mrs("PMCNTENCLR_EL0", 3, 3, 9, 12, 2),
    Mrs("PMOVSCLR_EL0", 3, 3, 9, 12, 3),
    Mrs("PMSWINC_EL0", 3, 3, 9, 12, 4),
    Mrs("PMSELR_EL0", 3, 3, 9, 12, 5),
    Mrs("PMCEID0_EL0", 3, 3, 9, 12, 6),
    Mrs("PMCEID1_EL0", 3, 3, 9, 12, 7),
    Mrs("PMCCNTR_EL0", 3, 3, 9, 13, 0),
    Mrs("PMXEVTYPER_EL0", 3, 3, 9, 13, 1),
    Mrs("PMXEVCNTR_EL0", 3, 3, 9, 13, 2),
    Mrs("PMUSERENR_EL0", 3, 3, 9, 14, 0),
    Mrs("PMOVSSET_EL0", 3, 3, 9, 14, 3),
    Mrs("PMINTENSET_EL1", 3, 0, 9, 14, 1),
    Mrs("PMINTENCLR_EL1", 3, 0, 9, 14, 2),
    Mrs("PMMIR_EL1", 3, 0, 9, 14, 6),
    *_events("PMEVCNTR{}_EL0", 8),
    *_events("PMEVTYPER{}_EL0", 12),
    Mrs("PMCCFILTR_EL0", 3, 3, 14, 15, 7),
    # Identification of the CPU, which KVM has no id for.
    Mrs("DCZID_EL0", 3, 3, 0, 0, 7, DCZID),
)
