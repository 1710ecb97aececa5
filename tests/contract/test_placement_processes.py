"""Breakpoints of processes: which of them a request belongs to, as they come, go and come again."""

import pytest

from gdbstub.aarch64.registers import CPSR, PC, SP_EL1, SPSR_EL1, TTBR0_EL1, X
from gdbstub.debug.caches import Content
from gdbstub.debug.placement import Preference, Service
from gdbstub.errors import NoSlot
from gdbstub.swbp import BRK
from gdbstub.target import Action, BreakpointKind, Stopped, StopReason
from tests.contract.backends import Factory
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.programs import DATA, at
from tests.contract.spaces import EL1H, KERNEL_GVA, NOP, OTHER, ROUND, TEXT, USER_GVA, Spaces

PLACE = USER_GVA + 8
AUTO, SOFTWARE = Preference.AUTO, Preference.SOFTWARE


@pytest.fixture(params=[AUTO, SOFTWARE])
def process(machine_factory: Factory, request: pytest.FixtureRequest) -> Spaces:
    """A guest in process *a*."""
    spaces = Spaces(machine_factory(ROUND.image), request.param)
    spaces.enter(USER_GVA, spaces.a)
    return spaces


def test_a_breakpoint_at_the_return_address_of_a_process_stops_after_its_system_call(
    process: Spaces,
) -> None:
    """At the kernel's entry x30 is still the process's, where the kernel may not execute."""
    process.insert(PLACE)
    process.stops_at(PLACE)
    process.remove(PLACE)
    process.step()
    process.enter(KERNEL_GVA, process.a, el=1)
    process.machine.vcpus[0].set(X[30], PLACE)
    process.debugger.caches.invalidate(Content.REGISTER_WRITTEN)
    process.insert(PLACE)
    process.step()
    process.enter(USER_GVA, process.a)
    process.stops_at(PLACE)


def test_tables_of_a_process_that_has_ended_lead_nowhere_when_another_has_them(
    process: Spaces,
) -> None:
    process.insert(PLACE)
    process.stops_at(PLACE)
    vcpu = process.machine.vcpus[0]
    tables = process.a.content()
    for ipa, data in tables.items():  # the same root, with the other process's page below it
        word = int.from_bytes(data, "little")
        if word & -4096 & (1 << 48) - 1 == TEXT:
            process.machine.write_memory(ipa, (word - TEXT + OTHER).to_bytes(8, "little"))
    vcpu.set(TTBR0_EL1, process.a.ttbr | 0x40 << 48)
    vcpu.set(PC, USER_GVA)
    process.debugger.caches.invalidate(Content.REGISTER_WRITTEN)
    process.debugger.insert(1, BreakpointKind.HARDWARE, USER_GVA + 12, 4)
    assert process.go() == Stopped(1, stop=StopReason.HWBREAK)
    assert (process.pc(), process.word(OTHER + 8)) == (USER_GVA + 12, NOP)


def test_another_run_of_a_program_stops_though_the_guest_stopped_in_between(
    machine_factory: Factory,
) -> None:
    process = Spaces(machine_factory(ROUND.image), AUTO)
    process.enter(USER_GVA, process.a)
    process.insert(PLACE)
    process.stops_at(PLACE)
    process.enter(KERNEL_GVA, process.b, el=1)
    process.step()
    # The second run has tables and an ASID of its own, and the same pages of the same file.
    again = process._tables(5, 1 << 10 | 1 << 11 | 0b11 << 6, {USER_GVA: TEXT})
    vcpu = process.machine.vcpus[0]
    vcpu.set(TTBR0_EL1, again.ttbr | 0x42 << 48)
    vcpu.set(CPSR, 0x3C0)
    vcpu.set(PC, USER_GVA)
    process.debugger.caches.invalidate(Content.REGISTER_WRITTEN)
    process.stops_at(PLACE)


@pytest.mark.needs("reset")
def test_after_a_reset_no_brk_is_put_into_what_is_at_a_physical_address_by_then(
    start: Start,
) -> None:
    """A boot loader has moved itself; when it starts over an initrd lies there."""
    client = Client(start(ROUND).machine)
    moved, here = DATA + 4, at(2)
    client.machine.write_memory(DATA, ROUND.image)
    for gva in moved, here:
        client.target.insert(1, BreakpointKind.SOFTWARE, gva, 4)
    client.resume({1: Action.STEP})
    assert [client.machine.read_memory(gva, 4) for gva in (moved, here)] == [BRK, BRK]
    for _ in range(2):
        client.target.reset()
        client.machine.write_memory(DATA, bytes.fromhex("0707010030303030"))
        client.resume({1: Action.STEP})
        assert client.machine.read_memory(DATA, 8) == bytes.fromhex("0707010030303030")
        assert client.machine.read_memory(here, 4) == BRK
        assert client.target.breakpoints.served(moved).service is Service.COMPARATOR
    client.machine.write_memory(DATA, ROUND.image)
    client.resume({1: Action.STEP})
    assert client.machine.read_memory(moved, 4) == BRK
    client.machine.vcpus[0].set(PC, DATA)
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    assert client.pc(1) == moved


@pytest.mark.needs("reset")
def test_a_breakpoint_of_a_process_is_in_no_memory_after_a_reset(machine_factory: Factory) -> None:
    """Also where its address happens to be that of RAM, while the MMU is off."""
    spaces = Spaces(machine_factory(ROUND.image), SOFTWARE)
    low = TEXT + 0x1000
    for ipa, data in (
        spaces._tables(0, 1 << 10 | 1 << 11 | 0b11 << 6, {low: OTHER}).content().items()
    ):
        spaces.machine.write_memory(ipa, data)
    spaces.enter(low, spaces.a)
    spaces.insert(low + 8)
    spaces.step()
    assert spaces.word(OTHER + 8) == BRK
    spaces.debugger.reset()
    spaces.machine.write_memory(low, ROUND.image)
    spaces.step()
    assert spaces.word(low + 8) == NOP


@pytest.mark.parametrize("other", [None, "kernel", "program"])
def test_a_process_of_aarch32_gets_no_brk_though_the_kernel_comes_from_another(
    machine_factory: Factory, other: str | None
) -> None:
    """Have SPSR_EL1 hold what was saved of another process, on this vCPU or on another."""
    spaces = Spaces(machine_factory(ROUND.image, vcpus=1 if other is None else 2), SOFTWARE)
    vcpu = spaces.machine.vcpus[0]
    for saved in 0x10, 0x00, 0x3C5:
        spaces.enter(KERNEL_GVA, spaces.a, el=1)
        vcpu.set(SPSR_EL1, saved)
        if other is not None:
            spaces.enter(KERNEL_GVA, spaces.a, el=1, vcpu=1)
            spaces.machine.vcpus[1].set(SPSR_EL1, 0x00 if other == "program" else 0x3C5)
        if saved == 0x10:
            spaces.insert(PLACE)
        spaces.step()
        assert spaces.word(TEXT + 8) == NOP
        assert spaces.debugger.breakpoints.served(PLACE).service is Service.COMPARATOR
    # Once it is seen to execute A64 code it gets one.
    spaces.enter(USER_GVA, spaces.a)
    spaces.stops_at(PLACE)
    assert spaces.word(TEXT + 8) == BRK


def test_a_hit_counts_by_its_place_and_not_by_its_address(machine_factory: Factory) -> None:
    """Two processes have a page each at one address, and a breakpoint each there."""
    spaces = Spaces(machine_factory(ROUND.image), SOFTWARE)
    spaces.enter(USER_GVA, spaces.b)
    spaces.insert(PLACE)
    spaces.debugger.insert(1, BreakpointKind.HARDWARE, PLACE, 4)
    assert spaces.go() == Stopped(1, stop=StopReason.SWBREAK)
    spaces.enter(USER_GVA, spaces.a)
    assert spaces.go() == Stopped(1, stop=StopReason.HWBREAK)


def test_a_hardware_breakpoint_that_stands_is_not_lost_by_asking_again(
    machine_factory: Factory,
) -> None:
    spaces = Spaces(machine_factory(ROUND.image), SOFTWARE)
    spaces.enter(USER_GVA, spaces.a)
    slots = spaces.machine.breakpoint_slots
    for number in range(slots):
        spaces.debugger.insert(1, BreakpointKind.HARDWARE, PLACE + 0x100 * number, 4)
    for _ in range(2):
        spaces.debugger.insert(1, BreakpointKind.HARDWARE, PLACE, 4)
    with pytest.raises(NoSlot):
        spaces.debugger.insert(1, BreakpointKind.HARDWARE, PLACE + 4, 4)
    assert spaces.go() == Stopped(1, stop=StopReason.HWBREAK)
    assert spaces.pc() == PLACE


def test_a_request_that_is_refused_in_another_process_is_in_the_first_alone(
    machine_factory: Factory,
) -> None:
    spaces = Spaces(machine_factory(ROUND.image), SOFTWARE)
    spaces.enter(USER_GVA, spaces.a)
    spaces.insert(PLACE)
    for number in range(spaces.machine.breakpoint_slots):
        spaces.debugger.insert(1, BreakpointKind.HARDWARE, PLACE + 0x100 + 4 * number, 4)
    spaces.stops_at(PLACE)
    user = 1 << 10 | 1 << 11 | 0b11 << 6
    for attributes in user | 0b11 << 53, user:  # nothing may execute there, and then it may
        spaces.b.map(USER_GVA, OTHER, attributes=attributes)
        for ipa, data in spaces.b.content().items():
            spaces.machine.write_memory(ipa, data)
        spaces.enter(USER_GVA, spaces.b, el=1 if attributes != user else 0)
        if attributes != user:
            spaces.machine.vcpus[0].set(PC, KERNEL_GVA)
            with pytest.raises(NoSlot):
                spaces.insert(PLACE)
        spaces.step()
        assert spaces.word(OTHER + 8) == NOP
    spaces.enter(USER_GVA, spaces.a)
    spaces.stops_at(PLACE)


def test_more_breakpoints_than_a_resume_looks_at_are_put_back_when_asked_for_again(
    machine_factory: Factory,
) -> None:
    spaces = Spaces(machine_factory(ROUND.image), SOFTWARE)
    spaces.enter(USER_GVA, spaces.a)
    places = [USER_GVA + 0x100 + 4 * number for number in range(40)]
    for gva in places:
        spaces.insert(gva)
    spaces.step()
    spaces.machine.write_memory(TEXT + 0x100, NOP * 40)
    for gva in places:
        spaces.remove(gva)
        spaces.insert(gva)
    spaces.step()
    assert spaces.machine.read_memory(TEXT + 0x100, 160) == BRK * 40


def test_a_patch_site_is_known_also_while_our_own_brk_is_there(machine_factory: Factory) -> None:
    spaces = Spaces(machine_factory(ROUND.image), SOFTWARE)
    spaces.enter(KERNEL_GVA + 4, spaces.a, el=1)
    spaces.insert(KERNEL_GVA + 8)
    spaces.step()
    assert spaces.word(0x4004_0008) == BRK
    spaces.debugger.breakpoints.preference = AUTO
    spaces.machine.vcpus[0].set(SP_EL1, KERNEL_GVA + 0x800)
    spaces.enter(KERNEL_GVA + 4, spaces.b, el=1)
    spaces.step()
    assert spaces.word(0x4004_0008) == NOP
    assert spaces.debugger.breakpoints.served(KERNEL_GVA + 8).service is Service.COMPARATOR
    assert spaces.machine.vcpus[0].get(CPSR) == EL1H


@pytest.mark.parametrize("beyond", [0, 4])
def test_no_breakpoint_at_the_end_of_ram_keeps_the_guest_from_running(
    machine_factory: Factory, beyond: int
) -> None:
    spaces = Spaces(machine_factory(ROUND.image), SOFTWARE)
    spaces.enter(KERNEL_GVA, spaces.a, el=1)
    end = 0x4020_0000
    spaces.kernel.map(KERNEL_GVA + 0x3000, end - 4096)
    spaces.kernel.map(KERNEL_GVA + 0x4000, end)
    for ipa, data in spaces.kernel.content().items():
        spaces.machine.write_memory(ipa, data)
    spaces.debugger.caches.invalidate(Content.REGISTER_WRITTEN)
    spaces.insert(KERNEL_GVA + 0x4000 + beyond)
    spaces.step()
    served = spaces.debugger.breakpoints.served(KERNEL_GVA + 0x4000 + beyond)
    assert served.service is Service.COMPARATOR
