"""Entry of a debug exception to EL1 as hardware does it, from values to values.

The caller reads ``Before`` from a vCPU and writes ``After`` to it. Source: Arm ARM D1.3.5
"Exception entry"; compared with Linux's arch/arm64/kvm/hyp/exception.c.
"""

from typing import Final, NamedTuple

from gdbstub.aarch64.sysreg import EC, ESR, MDSCR, PSTATE, SCTLR

EL1H: Final = PSTATE(EL=1, SP=1)

# The class is one higher if the exception is taken from the level that it is taken to.
_TWO_CLASSES: Final = {EC.BREAKPOINT_LOWER, EC.STEP_LOWER, EC.WATCHPOINT_LOWER}
_WITH_FAR: Final = {EC.WATCHPOINT_LOWER, EC.WATCHPOINT_SAME}


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
    esr = ESR(syndrome, EC=syndrome.EC + 1) if same_el else syndrome
    new = PSTATE(
        EL1H,
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
        spsr=old if before.mdscr.SS else PSTATE(old, SS=0),
        esr=esr,
        far=far if esr.EC in _WITH_FAR else None,
    )
