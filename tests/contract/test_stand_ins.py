"""Breakpoints where there is no memory yet: a comparator stands in until there is."""

import pytest

from gdbstub.aarch64.registers import CPSR, SCTLR_EL1, TTBR0_EL1, X
from gdbstub.aarch64.sysreg import PSTATE, SCTLR
from gdbstub.debug.caches import Content
from gdbstub.errors import NoSlot
from gdbstub.swbp import BRK
from gdbstub.target import BreakpointKind
from tests.contract.backends import Factory
from tests.contract.conftest import Start
from tests.contract.programs import MMU_ON
from tests.contract.spaces import (
    EL0T,
    KERNEL,
    KERNEL_GVA,
    NOP,
    OTHER,
    ROUND,
    TEXT,
    USER_GVA,
    Spaces,
)
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
    vcpu.set(SCTLR_EL1, SCTLR(sctlr).replace(M=0))
    spaces.debugger.caches.invalidate(Content.REGISTER_WRITTEN)
    return spaces


def armed(spaces: Spaces) -> tuple[tuple[int, int], ...]:
    return spaces.debugger.breakpoints.armed.breakpoints


def test_a_comparator_stands_in_until_there_is_memory(early: Spaces) -> None:
    """A stop at the comparator is reported like one at the BRK that replaces it."""
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
    """A request too many is an error with the number of comparators, and the others stay."""
    slots = early.machine.breakpoint_slots
    for number in range(slots - 1):
        early.insert(0xFFFF_9000_0000_0000 + 4 * number)
    early.insert(PLACE)
    for kind in BreakpointKind.SOFTWARE, BreakpointKind.HARDWARE:
        with pytest.raises(NoSlot, match=f"all {slots} hardware breakpoints are in use"):
            early.debugger.insert(1, kind, 0xFFFF_A000_0000_0000, 4)
    early.insert(PLACE)
    early.stops_at(PLACE)
    early.remove(PLACE)
    early.debugger.insert(1, BreakpointKind.HARDWARE, 0xFFFF_A000_0000_0000, 4)


# AArch32.

#: EL0 in AArch32 state, which other processes of an AArch64 kernel may be in.
USER32 = PSTATE.of(nRW=1, A=1, I=1, F=1)


@pytest.mark.own_kvm
def test_aarch32_code_gets_no_brk(start_kvm: Start) -> None:
    """A comparator serves AArch32 code, in which an A64 BRK is another instruction."""
    spaces = Spaces(start_kvm(ROUND).machine)
    spaces.enter(USER_GVA, spaces.a)
    spaces.machine.vcpus[0].set(CPSR, USER32)
    spaces.insert(USER_GVA + 8)
    spaces.debugger.breakpoints.arm()
    assert spaces.word(TEXT + 8) == NOP
    assert len(armed(spaces)) == 1
    spaces.machine.vcpus[0].set(CPSR, EL0T)
    spaces.debugger.caches.invalidate(Content.REGISTER_WRITTEN)
    spaces.debugger.breakpoints.arm()
    assert spaces.word(TEXT + 8) == BRK
    assert armed(spaces) == ()


@pytest.mark.own_kvm
def test_a_kernel_has_its_brks_while_a_process_of_aarch32_runs(start_kvm: Start) -> None:
    spaces = Spaces(start_kvm(ROUND).machine)
    spaces.enter(USER_GVA, spaces.a, kpti=False)
    spaces.machine.vcpus[0].set(CPSR, USER32)
    spaces.insert(PLACE)
    spaces.debugger.breakpoints.arm()
    assert spaces.word(KERNEL + 8) == BRK
    assert armed(spaces) == ()


#: A32: ``nop``, ``add r0, r0, #1``, ``nop``, ``b . - 12``.
ROUND32 = b"".join(
    word.to_bytes(4, "little") for word in (0xE320F000, 0xE2800001, 0xE320F000, 0xEAFFFFFB)
)


@pytest.mark.own_kvm
def test_aarch32_code_stops_where_it_is_asked_to(start_kvm: Start) -> None:
    spaces = Spaces(start_kvm(ROUND).machine)
    spaces.machine.write_memory(TEXT, ROUND32)
    spaces.enter(USER_GVA, spaces.a)
    spaces.machine.vcpus[0].set(CPSR, USER32)
    for times in 1, 2:
        spaces.insert(USER_GVA + 8)
        spaces.stops_at(USER_GVA + 8)
        assert spaces.machine.vcpus[0].get(X[0]) == times
        assert spaces.machine.read_memory(TEXT, 16) == ROUND32
        spaces.remove(USER_GVA + 8)
        spaces.step()
        assert spaces.pc() == USER_GVA + 12
