"""Two processes or kernels, and a breakpoint that was asked for in one of them."""

import threading

import pytest

from gdbstub.aarch64.registers import PC, X
from gdbstub.debug.placement import Preference
from gdbstub.swbp import BRK
from gdbstub.target import Action, BreakpointKind, Report, Resume, Stopped, StopReason
from tests.bounds import HANGS
from tests.contract.backends import Factory
from tests.contract.spaces import KERNEL_GVA, NOP, OTHER, TEXT, USER_GVA, Spaces, both_on
from tests.tables import AF

PLACE = USER_GVA + 8
ELSEWHERE = 0x50_0000
USER_TEXT = AF | 1 << 11 | 0b11 << 6


@pytest.fixture
def spaces(machine_factory: Factory) -> Spaces:
    """Process *a* on vCPU 0, and on vCPU 1 *b*, which has the same page at another address."""
    made = Spaces(both_on(machine_factory))
    made.b = made._tables(1, USER_TEXT, {ELSEWHERE: TEXT})
    made.enter(USER_GVA, made.a)
    made.enter(ELSEWHERE, made.b, vcpu=1)
    made.machine.vcpus[1].set(X[0], 0)
    made.insert(PLACE)
    return made


def go_on_vcpu_1(spaces: Spaces) -> Report | None:
    stopped = threading.Event()
    spaces.debugger.notify = stopped.set
    spaces.debugger.resume(Resume({2: Action.CONTINUE}))
    assert stopped.wait(HANGS)
    return spaces.debugger.take_report()


def test_it_does_not_stop_the_other_one_at_another_address(spaces: Spaces) -> None:
    """A program is at an address of its own in each process (ASLR)."""
    spaces.debugger.insert(2, BreakpointKind.HARDWARE, ELSEWHERE + 12, 4)
    assert go_on_vcpu_1(spaces) == Stopped(2, stop=StopReason.HWBREAK)
    assert spaces.word(TEXT + 8) == BRK
    vcpu = spaces.machine.vcpus[1]
    assert (hex(vcpu.get(PC)), vcpu.get(X[0])) == (hex(ELSEWHERE + 12), 1)
    spaces.stops_at(PLACE)


@pytest.mark.parametrize("prefer", [Preference.AUTO, Preference.SOFTWARE])
def test_each_vcpu_may_have_a_kernel_of_its_own(spaces: Spaces, prefer: Preference) -> None:
    """A board on which each CPU runs an image of its own, at the same virtual addresses."""
    spaces.debugger.breakpoints.preference = prefer
    spaces.remove(PLACE)
    spaces.enter(KERNEL_GVA, spaces.a, el=1)
    spaces.insert(KERNEL_GVA + 8)
    spaces.kernel = spaces._tables(4, AF | 1 << 11, {KERNEL_GVA: OTHER})
    spaces.enter(KERNEL_GVA, spaces.b, el=1, vcpu=1)
    spaces.debugger.insert(2, BreakpointKind.HARDWARE, KERNEL_GVA + 12, 4)
    assert go_on_vcpu_1(spaces) == Stopped(2, stop=StopReason.HWBREAK)
    assert hex(spaces.machine.vcpus[1].get(PC)) == hex(KERNEL_GVA + 12)
    assert spaces.word(OTHER + 8) == NOP
    spaces.stops_at(KERNEL_GVA + 8)


def test_asked_for_in_both_it_stops_both(spaces: Spaces) -> None:
    spaces.insert(ELSEWHERE + 8, thread=2)
    assert go_on_vcpu_1(spaces) == Stopped(2, stop=StopReason.SWBREAK)
    spaces.stops_at(PLACE)
    spaces.remove(PLACE)
    spaces.enter(ELSEWHERE, spaces.b, vcpu=1)
    assert go_on_vcpu_1(spaces) == Stopped(2, stop=StopReason.SWBREAK)
