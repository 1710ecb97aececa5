"""The structures for KVM with a vCPU's comparators and steps, passed only when they change."""

import errno

import pytest

from gdbstub.errors import MachineError
from gdbstub.kvm import abi
from gdbstub.kvm.abi import CData
from gdbstub.kvm.guest_debug import GuestDebug
from gdbstub.machine import DebugRegisters

ENABLE, STEP, SW_BP, HW = 1, 2, 1 << 16, 1 << 17
BREAKPOINTS = ((0x1E7, 0x1000), (0x1E7, 0x2000))
WATCHPOINTS = ((0x1FF7, 0x3000), (0x1FF7, 0x4000), (0x1FF7, 0x5000))
ALL = DebugRegisters(BREAKPOINTS, WATCHPOINTS, enabled=True)


@pytest.fixture
def port() -> "Port":
    return Port()


@pytest.fixture
def told(port: "Port") -> list[tuple[int, list[int]]]:
    """The control word of each ioctl, and the 64 words of all slots."""
    return port.told


class Port:
    """An ``IoctlPort`` to nothing."""

    errno = 0

    def __init__(self) -> None:
        self.calls: dict[int, int] = {}
        self.told: list[tuple[int, list[int]]] = []

    def ioctl(self, _: int, request: int, debug: CData, /) -> int:
        assert request == abi.SET_GUEST_DEBUG
        banks = debug.dbg_bcr, debug.dbg_bvr, debug.dbg_wcr, debug.dbg_wvr
        self.told.append((debug.control, [word for bank in banks for word in bank]))
        return 0


def slots(*banks: tuple[int, ...]) -> list[int]:
    return [word for bank in banks for word in (*bank, *(16 - len(bank)) * (0,))]


def test_unused_slots_are_zero(port: Port, told: list[tuple[int, list[int]]]) -> None:
    """Also those that held something before: fewer of a kind, none, and fewer again."""
    debug = GuestDebug(port, -1)
    for breakpoints, watchpoints in ((2, 3), (1, 1), (0, 0), (2, 3), (0, 1)):
        armed = DebugRegisters(BREAKPOINTS[:breakpoints], WATCHPOINTS[:watchpoints], enabled=True)
        debug.set(False, armed)
        _, words = told[-1]
        pairs = armed.breakpoints, armed.watchpoints
        assert words == slots(*(tuple(pair[n] for pair in bank) for bank in pairs for n in (0, 1)))
    assert len(told) == 5


@pytest.mark.parametrize(
    ("step", "debug", "control"),
    [
        (True, DebugRegisters(), ENABLE | SW_BP | STEP),
        (False, DebugRegisters(enabled=True), ENABLE | SW_BP),
        (False, ALL, ENABLE | SW_BP | HW),
        (False, DebugRegisters(BREAKPOINTS), ENABLE | HW),
        (True, ALL, ENABLE | SW_BP | HW | STEP),
    ],
)
def test_control(
    port: Port, told: list[tuple[int, list[int]]], step: bool, debug: DebugRegisters, control: int
) -> None:
    """KVM replaces all of it each time: a flag that is left out is off."""
    guest_debug = GuestDebug(port, -1)
    guest_debug.set(step, debug)
    guest_debug.set(step, debug)
    guest_debug.set(False, DebugRegisters())
    assert [said for said, _ in told] == [control, 0]
    assert not any(told[-1][1])


def test_a_step_that_was_cut_short_is_forgotten_before_the_next(
    port: Port,
    told: list[tuple[int, list[int]]],
) -> None:
    guest_debug = GuestDebug(port, -1)
    guest_debug.set(True, ALL)
    guest_debug.set(True, ALL, cut_short=True)
    guest_debug.set(False, ALL, cut_short=True)
    guest_debug.set(False, ALL, cut_short=True)
    stepping, running = ENABLE | SW_BP | HW | STEP, ENABLE | SW_BP | HW
    assert [said for said, _ in told] == [stepping, 0, stepping, 0, running]


@pytest.mark.parametrize("failing", [1, 2], ids=["the first call", "the second of two"])
def test_after_a_failure_kvm_is_told_again(
    failing: int, port: Port, told: list[tuple[int, list[int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """KVM's state is not known then: a call may have changed something, and one before it did."""
    debug = GuestDebug(port, -1)
    debug.set(True, ALL)
    number = len(told) + failing
    ioctl = port.ioctl

    def fail(fd: int, request: int, argument: CData, /) -> int:
        ioctl(fd, request, argument)
        return -1 if len(told) == number else 0

    monkeypatch.setattr(port, "ioctl", fail)
    port.errno = errno.EBUSY
    with pytest.raises(MachineError, match="KVM_SET_GUEST_DEBUG: Device or resource busy"):
        debug.set(True, ALL, cut_short=True)
    debug.set(True, ALL)
    assert told[-1] == told[0]
    assert len(told) == number + 1


def test_what_others_have_told_kvm_is_told_again(
    port: Port, told: list[tuple[int, list[int]]]
) -> None:
    debug = GuestDebug(port, -1)
    debug.set(False, ALL)
    debug.set(False, ALL)
    assert len(told) == 1
    debug.doubt()
    debug.set(False, ALL)
    assert len(told) == 2
