import pytest

from gdbstub.aarch64.exceptions import Before, enter
from gdbstub.aarch64.registers import SP_EL0, SP_EL1, X, stack_pointer
from gdbstub.aarch64.sysreg import EC, ESR, MDSCR, PSTATE, SCTLR

VBAR = 0xFFFF_8000_0801_0800
PC = 0xFFFF_8000_0812_3454

EL0_64, EL0_32, EL1T, EL1H = 0x000, 0x010, 0x004, 0x005


def before(pstate: int, sctlr: int = 0, mdscr: int = 0) -> Before:
    return Before(PC, PSTATE(pstate), VBAR, SCTLR(sctlr), MDSCR(mdscr))


@pytest.mark.parametrize(
    ("mode", "offset"), [(EL0_64, 0x400), (EL0_32, 0x600), (EL1T, 0x000), (EL1H, 0x200)]
)
def test_a_brk_goes_to_the_vector_of_its_origin(mode: int, offset: int) -> None:
    syndrome = ESR.of(EC=EC.BRK64, IL=1, comment=0x800)
    after = enter(before(mode), syndrome, 0)
    assert after.pc == VBAR + offset
    assert after.elr == PC, "the preferred return address is the BRK itself"
    assert after.esr == syndrome
    assert after.far is None
    assert after.spsr == mode
    assert after.pstate & 0x3CF == 0x3C5, "EL1h, everything masked"


@pytest.mark.parametrize("ec", [EC.BREAKPOINT_LOWER, EC.STEP_LOWER, EC.WATCHPOINT_LOWER])
@pytest.mark.parametrize(("mode", "same_el"), [(EL0_64, 0), (EL0_32, 0), (EL1T, 1), (EL1H, 1)])
def test_the_class_says_where_the_exception_came_from(ec: int, mode: int, same_el: int) -> None:
    assert enter(before(mode), ESR.of(EC=ec), 0).esr.EC == ec + same_el


@pytest.mark.parametrize(("mode", "ec"), [(EL0_64, 0x34), (EL1H, 0x35)])
def test_only_a_watchpoint_writes_far(mode: int, ec: int) -> None:
    after = enter(before(mode), ESR.of(EC=EC.WATCHPOINT_LOWER, WnR=1), 0x1234)
    assert after.far == 0x1234
    assert after.esr.EC == ec
    assert after.esr.WnR == 1
    assert enter(before(mode), ESR.of(EC=EC.BREAKPOINT_LOWER), 0x1234).far is None


@pytest.mark.parametrize(("sctlr_span", "pan"), [(0, 1), (1, 0)])
def test_pan_is_set_unless_span(sctlr_span: int, pan: int) -> None:
    after = enter(before(EL1H, SCTLR.of(SPAN=sctlr_span)), ESR.of(EC=EC.BRK64), 0)
    assert after.pstate.PAN == pan


def test_what_entry_keeps_and_clears() -> None:
    old = PSTATE(EL1H).replace(NZCV=0b1010, DIT=1, PAN=1, UAO=1, IL=1, SS=1, BTYPE=0b11, SSBS=1)
    after = enter(before(old, SCTLR.of(SPAN=1, DSSBS=0)), ESR.of(EC=EC.BRK64), 0)
    assert after.pstate == PSTATE.of(NZCV=0b1010, DIT=1, PAN=1, DAIF=0xF, EL=1, SP=1)
    assert after.spsr == PSTATE(old).replace(SS=0)
    assert enter(before(old, mdscr=1), ESR.of(EC=EC.BRK64), 0).spsr.SS == 1


@pytest.mark.parametrize(
    ("mode", "row"), [(EL0_64, SP_EL0), (EL1T, SP_EL0), (EL1H, SP_EL1), (EL0_32, X[13])]
)
def test_the_stack_pointer_in_use(mode: int, row: object) -> None:
    assert stack_pointer(PSTATE(mode)) is row
