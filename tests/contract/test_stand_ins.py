"""Breakpoints where there is no memory yet: a comparator stands in until there is."""

import pytest

from gdbstub.aarch64.registers import SCTLR_EL1, TTBR0_EL1, X
from gdbstub.aarch64.sysreg import SCTLR
from gdbstub.errors import NoSlot
from gdbstub.swbp import BRK
from gdbstub.target import Kind
from tests.contract.backends import Factory
from tests.contract.programs import MMU_ON
from tests.contract.spaces import KERNEL, KERNEL_GVA, NOP, OTHER, ROUND, Spaces
from tests.tables import AF

PLACE = KERNEL_GVA + 8


@pytest.fixture
def early(machine_factory: Factory) -> Spaces:
    """A kernel that is about to turn its MMU on and to go to its virtual addresses."""
    spaces = Spaces(machine_factory(ROUND.image))
    spaces.put(OTHER, MMU_ON)
    one_to_one = spaces._tables(4, AF, {OTHER: OTHER})
    spaces.enter(OTHER, spaces.a, el=1)
    vcpu = spaces.machine.vcpus[0]
    vcpu.set(TTBR0_EL1, one_to_one.ttbr)
    sctlr = SCTLR(vcpu.get(SCTLR_EL1))
    vcpu.set(X[0], sctlr)
    vcpu.set(X[1], KERNEL_GVA)
    vcpu.set(SCTLR_EL1, SCTLR(sctlr, M=0))
    spaces.debugger._memory.forget()
    return spaces


def armed(spaces: Spaces) -> tuple[tuple[int, int], ...]:
    return spaces.debugger._breakpoints.armed.breakpoints


def test_a_comparator_stands_in_until_there_is_memory(early: Spaces) -> None:
    """Its stop is told as the BRK's that takes over from it."""
    early.insert(PLACE)
    early.stops_at(PLACE)
    assert len(armed(early)) == 1
    assert early.word(KERNEL + 8) == NOP
    early.remove(PLACE)
    early.step()
    early.insert(PLACE)
    early.stops_at(PLACE)
    assert armed(early) == ()
    assert early.word(KERNEL + 8) == BRK
    early.remove(PLACE)
    early.step()
    assert early.word(KERNEL + 8) == NOP


def test_one_that_is_left_alone_becomes_a_brk_too(early: Spaces) -> None:
    """At the first stop at which its address translates, wherever that is."""
    early.insert(PLACE)
    early.insert(KERNEL_GVA)
    early.stops_at(KERNEL_GVA)
    early.remove(KERNEL_GVA)
    early.step()
    assert early.word(KERNEL + 8) == BRK
    assert armed(early) == ()
    early.stops_at(PLACE)


def test_there_are_as_many_as_comparators(early: Spaces) -> None:
    """One more is an error that says how many there are, and those that were there stay."""
    slots = early.machine.breakpoint_slots
    for number in range(slots - 1):
        early.insert(0xFFFF_9000_0000_0000 + 4 * number)
    early.insert(PLACE)
    for kind in Kind.SOFTWARE, Kind.HARDWARE:
        with pytest.raises(NoSlot, match=f"all {slots} hardware breakpoints are in use"):
            early.debugger.insert(1, kind, 0xFFFF_A000_0000_0000, 4)
    early.insert(PLACE)
    early.stops_at(PLACE)
    early.remove(PLACE)
    early.debugger.insert(1, Kind.HARDWARE, 0xFFFF_A000_0000_0000, 4)
