import pytest

from gdbstub.aarch64.comparators import canonical
from gdbstub.aarch64.sysreg import DBGBCR, DBGWCR
from gdbstub.errors import NoSlot
from gdbstub.hwbp import HardwareBreakpoints
from gdbstub.target import BreakpointKind

KERNEL = 0xFFFF_8000_0800_0000


def test_a_breakpoint_is_an_unlinked_address_match_at_el0_and_el1() -> None:
    hardware = HardwareBreakpoints(2, 2)
    hardware.insert(BreakpointKind.HARDWARE, KERNEL, 4)
    ((control, value),) = hardware.registers(enabled=False).breakpoints
    assert (control, value) == (0x1E7, KERNEL)
    assert DBGBCR(control).BT == 0


def test_full_is_an_error_that_loses_nothing() -> None:
    hardware = HardwareBreakpoints(2, 2)
    hardware.insert(BreakpointKind.HARDWARE, 0x1000, 4)
    hardware.insert(BreakpointKind.HARDWARE, 0x2000, 4)
    hardware.insert(BreakpointKind.HARDWARE, 0x2000, 4)  # twice is once
    with pytest.raises(NoSlot, match="all 2 hardware breakpoints"):
        hardware.insert(BreakpointKind.HARDWARE, 0x3000, 4)
    hardware.insert(BreakpointKind.WRITE, 0x1000, 4)
    hardware.insert(BreakpointKind.WRITE, 0x3000, 4)
    with pytest.raises(NoSlot, match="takes more than is free of 2 hardware watchpoints"):
        hardware.insert(BreakpointKind.WRITE, 0x2000, 8)
    hardware.remove(BreakpointKind.WRITE, 0x3000, 4)
    state = hardware.registers(enabled=False)
    assert [value for _, value in state.breakpoints] == [0x1000, 0x2000]
    assert len(state.watchpoints) == 1
    hardware.remove(BreakpointKind.HARDWARE, 0x1000, 4)
    hardware.insert(BreakpointKind.HARDWARE, 0x3000, 4)


def test_a_watchpoint_that_is_asked_for_twice_is_one() -> None:
    hardware = HardwareBreakpoints(1, 2)
    for _ in range(3):
        hardware.insert(BreakpointKind.WRITE, 0x1005, 8)
    assert len(hardware.registers(enabled=False).watchpoints) == 2
    hardware.remove(BreakpointKind.WRITE, 0x1005, 8)
    hardware.remove(BreakpointKind.WRITE, 0x1005, 8)
    assert hardware.registers(enabled=False).watchpoints == ()


def test_remove_takes_exactly_what_was_asked_for() -> None:
    hardware = HardwareBreakpoints(1, 4)
    hardware.insert(BreakpointKind.WRITE, 0x1000, 4)
    hardware.insert(BreakpointKind.READ, 0x1000, 4)
    hardware.remove(BreakpointKind.READ, 0x1000, 4)
    hardware.remove(BreakpointKind.WRITE, 0x1000, 8)
    ((control, _),) = hardware.registers(enabled=False).watchpoints
    assert DBGWCR(control).LSC == 0b10


def test_address_that_is_not_canonical_can_be_removed() -> None:
    hardware = HardwareBreakpoints(1, 1)
    short = KERNEL & (1 << 53) - 1
    hardware.insert(BreakpointKind.HARDWARE, short, 4)
    assert hardware.kinds_at(KERNEL) == (BreakpointKind.HARDWARE,)
    hardware.remove(BreakpointKind.HARDWARE, short, 4)
    assert hardware.kinds_at(KERNEL) == ()
    assert canonical(short) == KERNEL


def test_one_comparator_serves_both_kinds_of_breakpoint() -> None:
    hardware = HardwareBreakpoints(1, 1)
    hardware.insert(BreakpointKind.HARDWARE, 0x1000, 4)
    hardware.insert(BreakpointKind.SOFTWARE, 0x1000, 4)
    assert hardware.kinds_at(0x1000) == (BreakpointKind.SOFTWARE, BreakpointKind.HARDWARE)
    hardware.remove(BreakpointKind.SOFTWARE, 0x1000, 4)
    assert hardware.kinds_at(0x1000) == (BreakpointKind.HARDWARE,)
    hardware.remove(BreakpointKind.HARDWARE, 0x1000, 4)
    assert hardware.kinds_at(0x1000) == ()
    assert hardware.registers(enabled=False).breakpoints == ()
