"""Entry of a debug exception to EL1 as hardware does it, from values to values.

The caller reads ``Before`` from a vCPU and writes ``After`` to it. Source: Arm ARM D1.3.5
"Exception entry"; compared with Linux's arch/arm64/kvm/hyp/exception.c.
"""

from typing import Final, NamedTuple

from gdbstub.aarch64.sysreg import EC, ESR, MDSCR, PSTATE, SCTLR

EL1H: Final = PSTATE.of(EL=1, SP=1)

# The class is one higher if the exception is taken from the level that it is taken to.
_TWO_CLASSES: Final = {EC.BREAKPOINT_LOWER, EC.STEP_LOWER, EC.WATCHPOINT_LOWER}
_WITH_FAR: Final = {EC.WATCHPOINT_LOWER, EC.WATCHPOINT_SAME}


#: Names of exception classes (Arm ARM D19.2.37 "ESR_EL1", EC), from EL0 and from EL1 alike.
CLASSES: Final = {
    0x00: "unknown reason",
    0x01: "WFI or WFE",
    0x07: "SVE, SIMD or floating point",
    0x09: "pointer authentication",
    0x0D: "Branch Target exception",
    0x0E: "Illegal Execution state",
    0x11: "SVC of AArch32",
    0x15: "SVC",
    0x16: "HVC",
    0x18: "MSR, MRS or system instruction",
    0x19: "SVE",
    0x1C: "pointer authentication failure",
    0x20: "instruction abort from EL0",
    0x21: "instruction abort",
    0x22: "PC alignment fault",
    0x24: "data abort from EL0",
    0x25: "data abort",
    0x26: "SP alignment fault",
    0x27: "memory copy or set",
    0x2C: "floating point exception",
    0x2F: "SError",
    0x30: "breakpoint from EL0",
    0x31: "breakpoint",
    0x32: "software step from EL0",
    0x33: "software step",
    0x34: "watchpoint from EL0",
    0x35: "watchpoint",
    0x38: "BKPT of AArch32",
    0x3C: "BRK",
}
#: Exception classes that write FAR_EL1.
CLASSES_WITH_FAR: Final = frozenset({0x20, 0x21, 0x22, 0x24, 0x25, 0x34, 0x35})


class Before(NamedTuple):
    """State that entry depends on.

    ``tagged`` is True if the VM has MTE, with which PSTATE.TCO is defined.
    """

    pc: int
    pstate: PSTATE
    vbar: int
    sctlr: SCTLR
    mdscr: MDSCR = MDSCR()
    tagged: bool = False


class After(NamedTuple):
    """State that entry writes; ``far`` is None if FAR_EL1 keeps its value."""

    pc: int
    pstate: PSTATE
    elr: int
    spsr: PSTATE
    esr: ESR
    far: int | None


def vector(pstate: PSTATE) -> int:
    """Return the offset from VBAR_EL1 of the synchronous vector for an exception from *pstate*."""
    if pstate.nRW:
        return 0x600
    if pstate.EL == 0:
        return 0x400
    return 0x200 if pstate.SP else 0x000


def enter(before: Before, syndrome: ESR, far: int) -> After:
    """Return the state after entry of the exception that KVM reported as *syndrome*.

    KVM reports exceptions as taken to EL2, so their class is always the "lower EL" one.
    """
    old, sctlr = before.pstate, before.sctlr
    from_el0 = bool(old.nRW) or old.EL == 0
    same_el = not from_el0 and syndrome.EC in _TWO_CLASSES
    esr = syndrome.replace(EC=syndrome.EC + 1) if same_el else syndrome
    new = PSTATE(EL1H).replace(
        NZCV=old.NZCV,
        DIT=old.DIT,
        PAN=old.PAN if sctlr.SPAN else 1,
        SSBS=sctlr.DSSBS,
        TCO=1 if before.tagged else 0,
        DAIF=0xF,
    )
    return After(
        pc=before.vbar + vector(old),
        pstate=new,
        elr=before.pc,
        # KVM keeps PSTATE.SS set while it steps. The guest must see it only if it steps itself.
        spsr=old if before.mdscr.SS else old.replace(SS=0),
        esr=esr,
        far=far if esr.EC in _WITH_FAR else None,
    )
