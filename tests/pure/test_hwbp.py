import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub.aarch64.sysreg import DBGBCR, DBGWCR
from gdbstub.errors import NoSlot
from gdbstub.hwbp import HardwareBreakpoints, canonical, plan
from gdbstub.target import Kind

KERNEL = 0xFFFF_8000_0800_0000


def watched(control: int, value: int) -> set[int] | range:
    """The bytes that DBGWCR and DBGWVR select (Arm ARM D2.9.5)."""
    wcr = DBGWCR(control)
    assert wcr.E == 1
    assert wcr.PAC == 3
    if wcr.MASK:
        assert wcr.BAS == 0xFF
        assert value % (1 << wcr.MASK) == 0
        return range(value, value + (1 << wcr.MASK))
    assert value % 8 == 0
    bas = f"{wcr.BAS:08b}"[::-1]
    assert "01" not in bas.strip("0"), "BAS is contiguous"
    return {value + n for n in range(8) if bas[n] == "1"}


@given(st.integers(0, 64), st.integers(1, 256), st.sampled_from([0x1000, KERNEL]))
def test_planned_slots_watch_exactly_the_range(offset: int, length: int, base: int) -> None:
    covered: list[int] = []
    for slot in plan(base + offset, length):
        control, value = slot.registers(Kind.WRITE)
        covered += watched(control, value)
    assert sorted(covered) == list(range(base + offset, base + offset + length))


@pytest.mark.parametrize(
    ("gva", "length", "slots"),
    [
        (0x1000, 8, 1), (0x1005, 3, 1), (0x1005, 8, 2), (0x1000, 4096, 1),
        (0x4000_0000, 1 << 30, 1), (0x8000_0000, 1 << 31, 1), (0x1008, 16, 2),
        (0, 1 << 31, 1),
    ],
)  # fmt: skip
def test_number_of_slots(gva: int, length: int, slots: int) -> None:
    assert len(list(plan(gva, length))) == slots


def test_a_breakpoint_is_an_unlinked_address_match_at_el0_and_el1() -> None:
    hardware = HardwareBreakpoints(2, 2)
    hardware.insert(Kind.HARDWARE, KERNEL, 4)
    ((control, value),) = hardware.registers(enabled=False).breakpoints
    assert (control, value) == (0x1E7, KERNEL)
    assert DBGBCR(control).BT == 0


def test_full_is_an_error_that_loses_nothing() -> None:
    hardware = HardwareBreakpoints(2, 2)
    hardware.insert(Kind.HARDWARE, 0x1000, 4)
    hardware.insert(Kind.HARDWARE, 0x2000, 4)
    hardware.insert(Kind.HARDWARE, 0x2000, 4)  # twice is once
    with pytest.raises(NoSlot, match="all 2 hardware breakpoints"):
        hardware.insert(Kind.HARDWARE, 0x3000, 4)
    hardware.insert(Kind.WRITE, 0x1000, 4)
    with pytest.raises(NoSlot, match="takes more than the 1 free of 2"):
        hardware.insert(Kind.WRITE, 0x2005, 8)
    state = hardware.registers(enabled=False)
    assert [value for _, value in state.breakpoints] == [0x1000, 0x2000]
    assert len(state.watchpoints) == 1
    hardware.remove(Kind.HARDWARE, 0x1000, 4)
    hardware.insert(Kind.HARDWARE, 0x3000, 4)


def test_remove_takes_exactly_what_was_asked_for() -> None:
    hardware = HardwareBreakpoints(1, 4)
    hardware.insert(Kind.WRITE, 0x1000, 4)
    hardware.insert(Kind.READ, 0x1000, 4)
    hardware.remove(Kind.READ, 0x1000, 4)
    hardware.remove(Kind.WRITE, 0x1000, 8)
    ((control, _),) = hardware.registers(enabled=False).watchpoints
    assert DBGWCR(control).LSC == 0b10


def test_address_that_is_not_canonical_can_be_removed() -> None:
    hardware = HardwareBreakpoints(1, 1)
    short = KERNEL & (1 << 53) - 1
    hardware.insert(Kind.HARDWARE, short, 4)
    assert hardware.stops_at(KERNEL) is Kind.HARDWARE
    hardware.remove(Kind.HARDWARE, short, 4)
    assert hardware.stops_at(KERNEL) is None
    assert canonical(short) == KERNEL


@pytest.mark.parametrize(
    ("far", "write", "kind", "clamped"),
    [
        (0x1004, True, Kind.WRITE, 0x1004),
        (0x1007, True, Kind.WRITE, 0x1007),
        (0x0FF8, True, Kind.WRITE, 0x1000),  # a wide access that began below
        (0xAB << 56 | 0x1002, True, Kind.WRITE, 0x1002),  # tagged
        (0x2000, False, Kind.ACCESS, 0x2000),
        (0x1002, False, Kind.ACCESS, 0x2000),  # the write watchpoint cannot have caught a read
    ],
)
def test_hit_is_the_nearest_of_its_kind(far: int, write: bool, kind: Kind, clamped: int) -> None:
    hardware = HardwareBreakpoints(1, 4)
    hardware.insert(Kind.WRITE, 0x1000, 8)
    hardware.insert(Kind.ACCESS, 0x2000, 4)
    hit = hardware.hit(far, write=write)
    assert hit is not None
    assert hit.kind is kind
    assert hit.clamp(far) == clamped


def test_no_watchpoint_of_the_kind_is_no_hit() -> None:
    hardware = HardwareBreakpoints(1, 4)
    hardware.insert(Kind.WRITE, 0x1000, 8)
    assert hardware.hit(0x1000, write=False) is None


def test_one_comparator_serves_both_kinds_of_breakpoint() -> None:
    hardware = HardwareBreakpoints(1, 1)
    hardware.insert(Kind.HARDWARE, 0x1000, 4)
    hardware.insert(Kind.SOFTWARE, 0x1000, 4)
    assert hardware.stops_at(0x1000) is Kind.SOFTWARE
    hardware.remove(Kind.SOFTWARE, 0x1000, 4)
    assert hardware.stops_at(0x1000) is Kind.HARDWARE
    hardware.remove(Kind.HARDWARE, 0x1000, 4)
    assert hardware.stops_at(0x1000) is None
    assert hardware.registers(enabled=False).breakpoints == ()
