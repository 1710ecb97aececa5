"""Software breakpoints and memory where addresses are translated, by several tables."""

from collections.abc import Callable, Generator

import pytest

from gdbstub.aarch64.registers import PC, X
from gdbstub.aarch64.sysreg import EC, ESR
from gdbstub.debug.breakpoints import Breakpoints
from gdbstub.debug.caches import Caches
from gdbstub.debug.placement import Preference
from gdbstub.debug.registers import ClientRegisters
from gdbstub.debug.stop_reasons import Disposition, StopClassifier
from gdbstub.errors import MemoryFault
from gdbstub.machine import DebugExit
from gdbstub.protocol.packets import ClientState, dispatch
from gdbstub.swbp import BRK, BRK_COMMENT
from gdbstub.target import BreakpointKind, Exited, Stopped, StopReason
from tests.contract.backends import Factory
from tests.contract.programs import BASE, PATCHES_ITSELF, TWO
from tests.contract.spaces import (
    ALIAS_GVA,
    KERNEL,
    KERNEL_GVA,
    NOP,
    OTHER,
    ROUND,
    TEXT,
    TRAMPOLINE_GVA,
    USER_GVA,
    Spaces,
    both_on,
)

Begin = Callable[..., Spaces]


@pytest.fixture
def begin(machine_factory: Factory) -> Begin:
    """A guest in process *a*, at EL0."""

    def make(*, vcpus: int = 1) -> Spaces:
        one = vcpus == 1
        spaces = Spaces(machine_factory(ROUND.image) if one else both_on(machine_factory))
        for vcpu in range(vcpus):
            spaces.enter(USER_GVA, spaces.a, vcpu=vcpu)
        return spaces

    return make


@pytest.fixture
def spaces(begin: Begin) -> Spaces:
    return begin()


# One page, two addresses.


def test_a_page_that_is_mapped_twice_has_one_breakpoint_and_stops_at_both(spaces: Spaces) -> None:
    spaces.insert(USER_GVA + 8)
    spaces.stops_at(USER_GVA + 8)
    spaces.enter(ALIAS_GVA, spaces.a)
    spaces.stops_at(ALIAS_GVA + 8, known=False)
    for gva in USER_GVA, ALIAS_GVA:
        assert spaces.debugger.read_memory(1, gva, 16) == ROUND.image
    spaces.remove(USER_GVA + 8)
    spaces.step()
    assert spaces.word(TEXT + 8) == NOP


def test_asked_for_at_both_addresses_it_stays_until_both_are_taken_back(spaces: Spaces) -> None:
    spaces.insert(USER_GVA + 8)
    spaces.insert(ALIAS_GVA + 8)
    spaces.stops_at(USER_GVA + 8)
    spaces.remove(USER_GVA + 8)
    spaces.enter(ALIAS_GVA, spaces.a)
    spaces.stops_at(ALIAS_GVA + 8)
    spaces.remove(ALIAS_GVA + 8)
    spaces.step()
    assert spaces.word(TEXT + 8) == NOP


# One address, two pages.


def test_another_process_at_the_same_address_is_not_ours(spaces: Spaces) -> None:
    """The debugger's own BRK word in the other process's text goes to the guest's handler."""
    spaces.machine.write_memory(OTHER + 8, BRK)
    spaces.insert(USER_GVA + 8)
    spaces.stops_at(USER_GVA + 8)
    spaces.enter(USER_GVA, spaces.b)
    assert spaces.debugger.read_memory(1, USER_GVA + 8, 4) == BRK
    spaces.enter(USER_GVA, spaces.b, kpti=False)
    assert spaces.go() == Exited()
    assert ESR(spaces.machine.vcpus[0].get(X[19])).comment == BRK_COMMENT
    assert spaces.machine.vcpus[0].get(X[20]) == USER_GVA + 8


def test_removal_after_a_context_switch_restores_the_right_page(spaces: Spaces) -> None:
    spaces.insert(USER_GVA + 8)
    spaces.stops_at(USER_GVA + 8)
    spaces.enter(USER_GVA, spaces.b)
    spaces.machine.write_memory(OTHER + 8, TWO.image)
    spaces.remove(USER_GVA + 8)
    spaces.step()
    assert (spaces.word(TEXT + 8), spaces.word(OTHER + 8)) == (NOP, TWO.image)


def test_asked_for_in_two_processes_it_is_in_both_and_taken_back_from_both(spaces: Spaces) -> None:
    """A client that asks twice has one breakpoint at that address, and has not removed it."""
    spaces.insert(USER_GVA + 8)
    spaces.stops_at(USER_GVA + 8)
    spaces.enter(USER_GVA, spaces.b)
    spaces.insert(USER_GVA + 8)
    spaces.stops_at(USER_GVA + 8)
    spaces.enter(USER_GVA, spaces.a)
    spaces.stops_at(USER_GVA + 8)
    spaces.remove(USER_GVA + 8)
    spaces.step()
    assert (spaces.word(TEXT + 8), spaces.word(OTHER + 8)) == (NOP, NOP)


def test_inserted_twice_and_removed_once_it_is_gone(spaces: Spaces) -> None:
    for _ in range(2):
        spaces.insert(USER_GVA + 8)
    spaces.stops_at(USER_GVA + 8)
    spaces.insert(USER_GVA + 8)
    spaces.remove(USER_GVA + 8)
    spaces.step()
    assert spaces.word(TEXT + 8) == NOP


# The kernel, from where it is not mapped.


def test_kernel_addresses_resolve_at_el0_once_the_kernel_was_seen(spaces: Spaces) -> None:
    with pytest.raises(MemoryFault):
        spaces.debugger.read_memory(1, KERNEL_GVA, 4)
    spaces.enter(KERNEL_GVA, spaces.a, el=1)
    assert spaces.debugger.read_memory(1, KERNEL_GVA, 16) == ROUND.image
    spaces.enter(USER_GVA, spaces.a)
    assert spaces.debugger.read_memory(1, KERNEL_GVA, 16) == ROUND.image
    spaces.debugger.write_memory(1, KERNEL_GVA + 4, TWO.image)
    assert spaces.word(KERNEL + 4) == TWO.image


def test_kernel_addresses_resolve_at_el0_while_another_vcpu_is_at_el1(begin: Begin) -> None:
    spaces = begin(vcpus=2)
    with pytest.raises(MemoryFault):
        spaces.debugger.read_memory(1, KERNEL_GVA, 4)
    spaces.enter(KERNEL_GVA, spaces.a, el=1, vcpu=1)
    assert spaces.debugger.read_memory(1, KERNEL_GVA, 16) == ROUND.image


def test_a_breakpoint_of_the_kernel_is_set_hit_and_removed_at_el0(begin: Begin) -> None:
    spaces = begin(vcpus=2)
    spaces.enter(KERNEL_GVA, spaces.a, el=1)
    spaces.debugger.read_memory(1, KERNEL_GVA, 4)
    spaces.enter(USER_GVA, spaces.a)
    spaces.insert(KERNEL_GVA + 8)
    spaces.step()
    assert spaces.word(KERNEL + 8) == BRK
    spaces.enter(KERNEL_GVA, spaces.a, el=1)
    spaces.stops_at(KERNEL_GVA + 8)
    spaces.enter(USER_GVA, spaces.b)
    spaces.remove(KERNEL_GVA + 8, thread=2)
    spaces.step()
    assert spaces.word(KERNEL + 8) == NOP


def test_a_breakpoint_asked_for_at_el0_before_the_kernel_was_seen(spaces: Spaces) -> None:
    """A comparator stands in until the address resolves."""
    spaces.insert(KERNEL_GVA + 8)
    spaces.step()
    assert spaces.word(KERNEL + 8) == NOP
    spaces.enter(KERNEL_GVA, spaces.a, el=1)
    spaces.stops_at(KERNEL_GVA + 8)
    spaces.remove(KERNEL_GVA + 8)
    spaces.insert(KERNEL_GVA + 8)
    spaces.enter(KERNEL_GVA, spaces.a, el=1)
    spaces.stops_at(KERNEL_GVA + 8)
    assert spaces.word(KERNEL + 8) == BRK


def test_the_tables_of_now_come_first(spaces: Spaces) -> None:
    """The trampoline's tables and the kernel's map the same address to different memory."""
    spaces.machine.write_memory(OTHER, TWO.image)
    spaces.enter(KERNEL_GVA, spaces.a, el=1)
    assert spaces.debugger.read_memory(1, TRAMPOLINE_GVA, 4) == NOP
    spaces.enter(USER_GVA, spaces.a)
    assert spaces.debugger.read_memory(1, TRAMPOLINE_GVA, 4) == TWO.image


def test_at_el1_nothing_but_the_tables_of_now_counts(spaces: Spaces) -> None:
    spaces.enter(KERNEL_GVA, spaces.a, el=1)
    spaces.debugger.read_memory(1, KERNEL_GVA, 4)
    spaces.kernel = spaces.trampoline
    spaces.enter(TRAMPOLINE_GVA, spaces.b, el=1)
    with pytest.raises(MemoryFault):
        spaces.debugger.read_memory(1, KERNEL_GVA, 4)


def test_a_kernel_in_its_trampoline_at_el1_does_not_make_the_other_tables_forgotten(
    spaces: Spaces,
) -> None:
    kernel = spaces.kernel
    spaces.enter(KERNEL_GVA, spaces.a, el=1)
    spaces.debugger.read_memory(1, KERNEL_GVA, 4)
    spaces.kernel = spaces.trampoline
    spaces.enter(TRAMPOLINE_GVA, spaces.b, el=1)
    spaces.debugger.read_memory(1, TRAMPOLINE_GVA, 4)
    spaces.kernel = kernel
    spaces.enter(USER_GVA, spaces.a)
    assert spaces.debugger.read_memory(1, KERNEL_GVA, 16) == ROUND.image


def test_whose_a_brk_is_goes_by_the_tables_that_fetched_it(spaces: Spaces) -> None:
    machine = spaces.machine
    breakpoints = Breakpoints(machine, Caches(enabled=False))
    breakpoints.preference = Preference.SOFTWARE
    stops = StopClassifier(machine, breakpoints, ClientRegisters(machine), lambda _: None)
    spaces.enter(KERNEL_GVA, spaces.a, el=1)
    breakpoints.insert(0, BreakpointKind.SOFTWARE, KERNEL_GVA + 8, 4)
    breakpoints.arm()
    spaces.machine.vcpus[0].set(PC, KERNEL_GVA + 8)
    exit = DebugExit(0, ESR.of(EC=EC.BRK64, IL=1, ISS=BRK_COMMENT))
    assert stops.classify(exit) == Stopped(1, stop=StopReason.SWBREAK)
    spaces.enter(KERNEL_GVA + 8, spaces.a)
    assert breakpoints.memory.translate(0, KERNEL_GVA + 8).ipa == KERNEL + 8
    assert stops.classify(exit) is Disposition.REINJECT


# What is under a breakpoint.


def test_reads_that_end_within_a_breakpoint_show_what_belongs_there(spaces: Spaces) -> None:
    spaces.insert(USER_GVA + 4)
    spaces.insert(USER_GVA + 8)
    spaces.step()
    for start in range(16):
        for end in range(start + 1, 17):
            shown = spaces.debugger.read_memory(1, USER_GVA + start, end - start)
            assert shown == ROUND.image[start:end]


def test_writes_that_end_within_a_breakpoint_go_underneath(spaces: Spaces) -> None:
    spaces.insert(USER_GVA + 8)
    spaces.step()
    spaces.debugger.write_memory(1, ALIAS_GVA + 6, b"\x00\x91" + TWO.image[:2])
    spaces.debugger.write_memory(1, USER_GVA + 10, TWO.image[2:])
    assert spaces.word(TEXT + 8) == BRK
    assert spaces.debugger.read_memory(1, USER_GVA + 8, 4) == TWO.image
    spaces.stops_at(USER_GVA + 8)
    spaces.remove(USER_GVA + 8)
    spaces.step()
    assert spaces.word(TEXT + 8) == TWO.image
    assert spaces.machine.vcpus[0].get(X[0]) == 2


# Text that the guest rewrites.


@pytest.fixture
def rewritten(spaces: Spaces) -> Spaces:
    """The kernel has written TWO over our BRK in its line 6, run it, and met another in line 7."""
    spaces.put(KERNEL, PATCHES_ITSELF)
    spaces.enter(KERNEL_GVA, spaces.a, el=1)
    vcpu = spaces.machine.vcpus[0]
    vcpu.set(X[0], KERNEL_GVA + 24)
    vcpu.set(X[1], int.from_bytes(TWO.image, "little"))
    spaces.insert(KERNEL_GVA + 24)
    spaces.insert(KERNEL_GVA + 28)
    spaces.stops_at(KERNEL_GVA + 28)
    assert vcpu.get(X[0]) == 2
    assert spaces.word(KERNEL + 24) == TWO.image
    spaces.enter(KERNEL_GVA + 24, spaces.a, el=1)
    return spaces


def test_text_that_the_guest_rewrote_is_read_and_left_as_it_is(rewritten: Spaces) -> None:
    assert rewritten.debugger.read_memory(1, KERNEL_GVA + 24, 4) == TWO.image
    rewritten.remove(KERNEL_GVA + 24)
    rewritten.step()
    assert rewritten.word(KERNEL + 24) == TWO.image


@pytest.mark.parametrize("again", [True, False])
def test_a_breakpoint_outlives_the_text_that_it_was_set_in(rewritten: Spaces, again: bool) -> None:
    """At the stop the client removes and inserts the breakpoint, as GDB does, or leaves it."""
    if again:
        rewritten.remove(KERNEL_GVA + 24)
        rewritten.insert(KERNEL_GVA + 24)
    rewritten.stops_at(KERNEL_GVA + 24)
    assert rewritten.debugger.read_memory(1, KERNEL_GVA + 24, 4) == TWO.image
    rewritten.remove(KERNEL_GVA + 24)
    rewritten.step()
    assert rewritten.word(KERNEL + 24) == TWO.image
    assert rewritten.machine.vcpus[0].get(X[0]) == 2


@pytest.mark.parametrize("physical", [False, True])
def test_what_looks_through_memory_does_not_see_breakpoints(spaces: Spaces, physical: bool) -> None:
    """At every offset and length round one; by virtual addresses and by physical ones."""
    text = ROUND.image
    spaces.insert(USER_GVA + 8)
    spaces.step()
    assert spaces.word(TEXT + 8) == BRK
    client = ClientState(spaces.debugger, 0x20000)
    packet(client, b"Qqemu.PhyMemMode:%d" % physical)
    base = TEXT if physical else ALIAS_GVA
    for start in range(len(text)):
        assert packet(client, b"m%x,%x" % (base + start, len(text))).startswith(
            text[start:].hex().encode()
        )
        for end in range(start + 1, len(text) + 1):
            whole = packet(client, b"qSearch:memory:%x;%x;%b" % (base, 16, text[start:end]))
            assert whole == b"1,%x" % (base + text.find(text[start:end]))
    assert packet(client, b"qSearch:memory:%x;10;%b" % (base, BRK)) == b"0"
    clean = packet(client, b"qCRC:%x,10" % base)
    spaces.remove(USER_GVA + 8)
    spaces.step()
    assert spaces.word(TEXT + 8) == NOP
    assert packet(client, b"qCRC:%x,10" % base) == clean


def test_writes_by_physical_addresses_go_underneath(spaces: Spaces) -> None:
    spaces.insert(USER_GVA + 8)
    spaces.step()
    client = ClientState(spaces.debugger, 0x20000)
    packet(client, b"Qqemu.PhyMemMode:1")
    assert packet(client, b"X%x,4:%b" % (TEXT + 8, TWO.image)) == b"OK"
    assert spaces.word(TEXT + 8) == BRK
    assert spaces.debugger.read_memory(1, USER_GVA + 8, 4) == TWO.image


@pytest.mark.parametrize("ipa", [0, 0x900_0000, BASE - 1, BASE + (2 << 20), 1 << 63])
def test_nothing_but_ram_has_physical_addresses(spaces: Spaces, ipa: int) -> None:
    client = ClientState(spaces.debugger, 0x20000)
    packet(client, b"Qqemu.PhyMemMode:1")
    for request in b"m%x,4", b"M%x,1:00", b"qCRC:%x,4", b"qSearch:memory:%x;4;a":
        with pytest.raises(MemoryFault):
            packet(client, request % ipa)
    with pytest.raises(MemoryFault):
        packet(client, b"X%x,8:12345678" % (BASE + (2 << 20) - 4))
    assert packet(client, b"m%x,8" % (BASE + (2 << 20) - 4)) == b"00000000"


def packet(client: ClientState, data: bytes) -> bytes:
    """The reply to a packet, whatever time it takes."""
    reply = dispatch(client, data)
    if not isinstance(reply, Generator):
        assert isinstance(reply, bytes)
        return reply
    while True:
        try:
            next(reply)
        except StopIteration as done:
            return bytes(done.value)


def test_reads_in_a_row_follow_what_a_client_writes_to_the_tables(spaces: Spaces) -> None:
    debugger, other = spaces.debugger, bytes(range(64))
    spaces.machine.write_memory(OTHER, other)
    assert debugger.read_memory(1, USER_GVA, 4) == NOP
    assert debugger.read_memory(1, USER_GVA + 8, 8) == ROUND.image[8:16]
    spaces.a.map(USER_GVA, OTHER)
    for ipa, data in spaces.a.content().items():
        debugger.write_physical(ipa, data)
    assert debugger.read_memory(1, USER_GVA + 8, 8) == other[8:16]
    assert debugger.read_memory(1, USER_GVA, 64) == other
    with pytest.raises(MemoryFault):
        debugger.read_memory(1, USER_GVA + 0x1000, 4)


def test_reads_in_a_row_are_each_vcpus_own(begin: Begin) -> None:
    spaces = begin(vcpus=2)
    spaces.machine.write_memory(OTHER, bytes(range(64)))
    spaces.enter(USER_GVA, spaces.b, vcpu=1)
    for _ in range(2):
        assert spaces.debugger.read_memory(1, USER_GVA + 4, 8) == ROUND.image[4:12]
        assert spaces.debugger.read_memory(2, USER_GVA + 4, 8) == bytes(range(4, 12))
