"""Places where a BRK may be, decided at each resume; elsewhere a comparator, or an error."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gdbstub.aarch64.registers import CPSR, ELR_EL1, PC, SCTLR_EL1, SP_EL1, SPSR_EL1, X
from gdbstub.aarch64.sysreg import SCTLR
from gdbstub.debug.caches import Content
from gdbstub.debug.placement import Preference, Service
from gdbstub.errors import MemoryFault, NoSlot
from gdbstub.machine import Machine
from gdbstub.swbp import BRK
from gdbstub.target import BreakpointKind, Stopped, StopReason
from tests.contract.backends import Factory
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.programs import TWO, at, program
from tests.contract.spaces import (
    EL1H,
    KERNEL,
    KERNEL_GVA,
    NOP,
    OTHER,
    ROUND,
    TEXT,
    USER_GVA,
    Spaces,
)
from tests.tables import AF, Tables

PXN, UXN = 1 << 53, 1 << 54
NG, READ_ONLY = 1 << 11, 0b10 << 6
PLACE = KERNEL_GVA + 8
AUTO, SOFTWARE = Preference.AUTO, Preference.SOFTWARE
RET = 0xD65F03C0


class Kernel:
    """A guest in its kernel, at EL1; its tables can be changed under a debugger that is halted."""

    def __init__(self, machine: Machine, prefer: Preference) -> None:
        self.spaces = Spaces(machine, prefer)
        self.machine = machine
        self.debugger = self.spaces.debugger
        self.spaces.enter(KERNEL_GVA, self.spaces.a, el=1)

    def map(self, gva: int, ipa: int, attributes: int = AF | NG | READ_ONLY) -> None:
        with self.changing() as tables:
            tables.map(gva, ipa, 3, attributes)

    def unmap(self, gva: int) -> None:
        with self.changing() as tables:
            tables.unmap(gva)

    @contextmanager
    def changing(self) -> Iterator[Tables]:
        """Write the kernel's tables into RAM as they are at the end."""
        tables = self.spaces.kernel
        before = tables.content()
        yield tables
        for ipa, data in tables.content().items():
            if before.get(ipa) != data:
                self.machine.write_memory(ipa, data)
        self.debugger.caches.invalidate(Content.REGISTER_WRITTEN)

    def service(self, gva: int) -> Service:
        return self.debugger.breakpoints.served(gva).service


@pytest.fixture
def kernel(machine_factory: Factory) -> Kernel:
    return Kernel(machine_factory(ROUND.image), SOFTWARE)


@pytest.fixture
def auto(machine_factory: Factory) -> Kernel:
    return Kernel(machine_factory(ROUND.image), AUTO)


# The page is somebody else's by now.


def test_a_page_that_was_unmapped_and_used_for_something_else_is_left_alone(kernel: Kernel) -> None:
    kernel.spaces.insert(PLACE)
    kernel.spaces.step()
    assert kernel.spaces.word(KERNEL + 8) == BRK
    kernel.map(KERNEL_GVA + 0x1000, TEXT)
    kernel.spaces.enter(KERNEL_GVA + 0x1000, kernel.spaces.a, el=1)
    kernel.unmap(KERNEL_GVA)
    kernel.machine.write_memory(KERNEL, bytes(4096))
    kernel.spaces.step()
    assert kernel.machine.read_memory(KERNEL, 4096) == bytes(4096)
    assert kernel.service(PLACE) is Service.COMPARATOR


def test_a_page_that_was_unmapped_and_keeps_its_content_loses_our_brk(kernel: Kernel) -> None:
    kernel.spaces.insert(PLACE)
    kernel.spaces.step()
    kernel.map(KERNEL_GVA + 0x1000, TEXT)
    kernel.spaces.enter(KERNEL_GVA + 0x1000, kernel.spaces.a, el=1)
    kernel.unmap(KERNEL_GVA)
    kernel.spaces.step()
    assert kernel.spaces.word(KERNEL + 8) == NOP


def test_a_page_that_is_mapped_again_elsewhere_gets_it_there(kernel: Kernel) -> None:
    kernel.spaces.insert(PLACE)
    kernel.spaces.step()
    kernel.map(KERNEL_GVA, TEXT)
    kernel.spaces.enter(KERNEL_GVA, kernel.spaces.b, el=1)  # with an ASID that no TLB knows
    kernel.spaces.stops_at(PLACE)
    assert (kernel.spaces.word(KERNEL + 8), kernel.spaces.word(TEXT + 8)) == (NOP, BRK)


def test_another_request_in_the_same_page_does_not_hide_that_it_was_mapped_elsewhere(
    kernel: Kernel,
) -> None:
    kernel.spaces.insert(PLACE)
    kernel.spaces.step()
    kernel.map(KERNEL_GVA, TEXT)
    kernel.spaces.enter(KERNEL_GVA, kernel.spaces.b, el=1)
    kernel.spaces.insert(PLACE + 4)
    kernel.spaces.step()
    assert [kernel.spaces.word(ipa + 8) for ipa in (KERNEL, TEXT)] == [NOP, BRK]


def test_tables_of_a_kernels_boot_count_no_more_when_it_has_others(kernel: Kernel) -> None:
    """The boot's tables may be intact, but the kernel has freed them and the pages they map."""
    elsewhere = KERNEL_GVA + 0x1000
    kernel.map(elsewhere, TEXT)
    kernel.machine.vcpus[0].set(SP_EL1, elsewhere + 0x800)
    kernel.spaces.enter(elsewhere, kernel.spaces.a, el=1)
    kernel.spaces.insert(PLACE)
    kernel.spaces.step()
    assert kernel.spaces.word(KERNEL + 8) == BRK
    kernel.spaces.kernel = kernel.spaces._tables(4, AF | NG | READ_ONLY, {elsewhere: TEXT})
    kernel.spaces.enter(elsewhere, kernel.spaces.b, el=1)
    kernel.machine.write_memory(KERNEL, bytes(4096))
    kernel.spaces.step()
    kernel.spaces.enter(USER_GVA, kernel.spaces.b)
    kernel.spaces.step()
    assert kernel.machine.read_memory(KERNEL, 4096) == bytes(4096)


def test_a_client_that_takes_it_back_and_asks_again_at_each_stop_gets_the_same(
    kernel: Kernel,
) -> None:
    for _ in range(3):
        kernel.spaces.insert(PLACE)
        kernel.spaces.stops_at(PLACE)
        kernel.spaces.remove(PLACE)
        kernel.spaces.step()
    kernel.map(KERNEL_GVA, TEXT)
    kernel.spaces.enter(KERNEL_GVA, kernel.spaces.b, el=1)
    kernel.spaces.insert(PLACE)
    kernel.spaces.stops_at(PLACE)
    assert (kernel.spaces.word(KERNEL + 8), kernel.spaces.word(TEXT + 8)) == (NOP, BRK)


@pytest.mark.needs("reset")
def test_after_a_reset_a_request_is_only_an_address(kernel: Kernel) -> None:
    kernel.spaces.insert(PLACE)
    kernel.spaces.step()
    kernel.debugger.reset()
    kernel.machine.write_memory(KERNEL, ROUND.image)
    kernel.spaces.step()
    assert kernel.spaces.word(KERNEL + 8) == NOP
    assert kernel.service(PLACE) is Service.COMPARATOR


# Where nothing may execute.


@pytest.mark.parametrize("attributes", [PXN | UXN, PXN])
def test_no_brk_where_the_kernel_may_not_execute(kernel: Kernel, attributes: int) -> None:
    kernel.map(KERNEL_GVA + 0x1000, TEXT, AF | NG | READ_ONLY | attributes)
    kernel.spaces.insert(KERNEL_GVA + 0x1008)
    kernel.spaces.step()
    assert kernel.spaces.word(TEXT + 8) == NOP
    assert kernel.service(KERNEL_GVA + 0x1008) is Service.COMPARATOR
    kernel.map(KERNEL_GVA + 0x1000, TEXT)
    kernel.spaces.enter(KERNEL_GVA + 0x1000, kernel.spaces.a, el=1)
    kernel.spaces.stops_at(KERNEL_GVA + 0x1008)
    assert kernel.spaces.word(TEXT + 8) == BRK


def test_no_brk_below_a_table_that_forbids_to_execute(kernel: Kernel) -> None:
    far = 0xFFFF_8000_4000_0000
    kernel.map(far, TEXT)
    with kernel.changing() as tables:
        tables.words[tables.place(far, 2)] |= 1 << 59
    kernel.spaces.insert(far + 8)
    kernel.spaces.step()
    assert kernel.spaces.word(TEXT + 8) == NOP


@pytest.mark.own_kvm
@pytest.mark.parametrize("mapped", [True, False])
def test_a_call_returns_to_a_breakpoint_where_nothing_can_execute(
    start_kvm: Start, mapped: bool
) -> None:
    """A client has a function return to the entry of the program, which is data or unmapped."""
    kernel = Kernel(start_kvm(ROUND).machine, SOFTWARE)
    back = KERNEL_GVA + 0x5000
    if mapped:
        kernel.map(back, TEXT, AF | NG | READ_ONLY | PXN | UXN)
    kernel.spaces.put(KERNEL, program((0x91000400, "add x0, x0, #1"), (RET, "ret")))
    vcpu = kernel.machine.vcpus[0]
    for register, value in ((X[30], back), (X[0], 1), (ELR_EL1, 0x1230), (SPSR_EL1, 0x3C5)):
        vcpu.set(register, value)
    kernel.debugger.write_register(1, X[30], back.to_bytes(8, "little"))
    kernel.spaces.insert(back)
    assert kernel.spaces.go() == Stopped(1, stop=StopReason.SWBREAK)
    assert (hex(kernel.spaces.pc()), vcpu.get(X[0])) == (hex(back), 2)
    assert (vcpu.get(ELR_EL1), vcpu.get(SPSR_EL1), vcpu.get(CPSR)) == (0x1230, 0x3C5, EL1H)
    assert kernel.spaces.word(TEXT) == NOP


def test_a_call_that_could_not_be_caught_is_refused_before_it_runs(kernel: Kernel) -> None:
    vcpu = kernel.machine.vcpus[0]
    back = KERNEL_GVA + 0x5000
    kernel.debugger.write_register(1, X[30], back.to_bytes(8, "little"))
    slots = kernel.machine.breakpoint_slots
    for number in range(slots):
        kernel.debugger.insert(1, BreakpointKind.HARDWARE, KERNEL_GVA + 0x100 + 4 * number, 4)
    with pytest.raises(NoSlot, match=f"all {slots} hardware breakpoints are in use"):
        kernel.spaces.insert(back)
    assert vcpu.get(PC) == KERNEL_GVA


# Addresses of a process.


def test_what_was_asked_for_in_no_process_is_put_into_none(machine_factory: Factory) -> None:
    spaces = Spaces(machine_factory(ROUND.image), SOFTWARE)
    vcpu = spaces.machine.vcpus[0]
    sctlr = SCTLR(vcpu.get(SCTLR_EL1))
    spaces.enter(KERNEL_GVA, spaces.a, el=1)
    vcpu.set(SCTLR_EL1, SCTLR(sctlr).replace(M=0))
    spaces.debugger.caches.invalidate(Content.REGISTER_WRITTEN)
    spaces.insert(USER_GVA + 8)
    vcpu.set(SCTLR_EL1, sctlr)
    spaces.enter(USER_GVA, spaces.a)
    spaces.step()
    assert spaces.word(TEXT + 8) == NOP
    spaces.enter(USER_GVA, spaces.b)
    spaces.stops_at(USER_GVA + 8)
    assert (spaces.word(TEXT + 8), spaces.word(OTHER + 8)) == (NOP, NOP)


def test_a_client_that_asks_again_while_another_process_runs_means_the_first(
    machine_factory: Factory,
) -> None:
    spaces = Spaces(machine_factory(ROUND.image), SOFTWARE)
    spaces.enter(USER_GVA, spaces.a)
    spaces.insert(USER_GVA + 8)
    spaces.stops_at(USER_GVA + 8)
    spaces.enter(USER_GVA, spaces.b)
    spaces.remove(USER_GVA + 8)
    spaces.insert(USER_GVA + 8)
    spaces.step()
    # The first does not run: its tables may be another's by now.
    assert (spaces.word(TEXT + 8), spaces.word(OTHER + 8)) == (NOP, NOP)
    spaces.enter(USER_GVA, spaces.a)
    spaces.stops_at(USER_GVA + 8)


def test_a_comparator_for_one_process_does_not_stop_another(machine_factory: Factory) -> None:
    spaces = Spaces(machine_factory(ROUND.image), AUTO)
    spaces.enter(USER_GVA, spaces.a)
    spaces.insert(USER_GVA + 8)
    spaces.step()
    assert spaces.debugger.breakpoints.served(USER_GVA + 8).service is Service.COMPARATOR
    spaces.enter(USER_GVA, spaces.b)
    spaces.put(OTHER, program((0xD503201F, "nop"), *[(0x91000400, "add x0, x0, #1")] * 2, TWICE))
    spaces.debugger.insert(1, BreakpointKind.HARDWARE, USER_GVA + 12, 4)
    spaces.machine.vcpus[0].set(X[0], 0)
    assert spaces.go() == Stopped(1, stop=StopReason.HWBREAK)
    assert (spaces.pc(), spaces.machine.vcpus[0].get(X[0])) == (USER_GVA + 12, 2)


TWICE = (0x17FFFFFD, "b . - 12")


# Where the guest rewrites its text, or checks it.

COPIES = program(
    (0xB9000001, "str w1, [x0]"),
    (0xD50B7B20, "dc cvau, x0"),
    (0xD5033B9F, "dsb ish"),
    (0xD50B7520, "ic ivau, x0"),
    (0xD5033B9F, "dsb ish"),
    (0xD5033FDF, "isb"),
    (0xD503201F, "nop"),
    (0x91000442, "add x2, x2, #1"),
    (0x17FFFFF8, "b . - 32"),
)


def test_a_breakpoint_stops_though_the_guest_writes_over_it_first(
    machine_factory: Factory,
) -> None:
    client = Client(machine_factory(COPIES.image), AUTO)
    vcpu = client.machine.vcpus[0]
    vcpu.set(X[0], at(7))
    vcpu.set(X[1], int.from_bytes(TWO.image, "little"))
    client.target.insert(1, BreakpointKind.SOFTWARE, at(7), 4)
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    assert client.pc(1) == at(7)
    assert client.machine.read_memory(at(7), 4) == TWO.image


@pytest.mark.parametrize("line", [0, 2])
def test_a_patch_site_of_the_kernel_keeps_its_word(auto: Kernel, line: int) -> None:
    auto.map(KERNEL_GVA, KERNEL)
    gva = KERNEL_GVA + 4 * line
    auto.spaces.enter(KERNEL_GVA + 4, auto.spaces.b, el=1)
    auto.spaces.insert(gva)
    auto.spaces.step()
    auto.spaces.stops_at(gva)
    assert auto.spaces.word(KERNEL + 4 * line) == NOP
    assert auto.service(gva) is Service.COMPARATOR


def test_plain_text_of_the_kernel_gets_a_brk(auto: Kernel) -> None:
    auto.map(KERNEL_GVA, KERNEL)
    auto.spaces.put(KERNEL, program(*[(0x91000400, "add x0, x0, #1")] * 7, (0x17FFFFF9, "b")))
    auto.spaces.insert(KERNEL_GVA + 16)
    auto.spaces.stops_at(KERNEL_GVA + 16)
    assert auto.service(KERNEL_GVA + 16) is Service.BRK
    assert auto.spaces.word(KERNEL + 16) == BRK


def test_hardware_requests_come_first(auto: Kernel) -> None:
    """A software breakpoint that a comparator served better gives it up."""
    slots = auto.machine.breakpoint_slots
    auto.spaces.insert(PLACE)
    auto.spaces.step()
    assert auto.service(PLACE) is Service.COMPARATOR
    for number in range(slots):
        auto.debugger.insert(1, BreakpointKind.HARDWARE, KERNEL_GVA + 0x100 + 4 * number, 4)
    auto.spaces.step()
    assert auto.service(PLACE) is Service.BRK
    assert auto.spaces.word(KERNEL + 8) == BRK


# Where nothing can ever execute.


@pytest.mark.parametrize("gva", [0, 0x5C, 0x0001_0000_0000_0000, 0xDEAD_0000_0000_0100])
def test_an_address_that_nothing_can_execute_is_refused(kernel: Kernel, gva: int) -> None:
    with pytest.raises(MemoryFault, match=f"no breakpoint at {gva:#x}: it is"):
        kernel.spaces.insert(gva)


# What a resume costs.


def test_a_resume_costs_no_more_the_more_there_are(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def count(number: int) -> int:
        for each in range(number):
            kernel.spaces.insert(KERNEL_GVA + 0x400 + 4 * each)
        kernel.spaces.step()
        read = kernel.machine.read_memory
        with monkeypatch.context() as patch:

            def noted(ipa: int, length: int) -> bytes:
                looked.append(ipa)
                return read(ipa, length)

            patch.setattr(kernel.machine, "read_memory", noted)
            looked.clear()
            kernel.spaces.debugger.breakpoints.arm()
        return len(looked)

    few = count(10)
    assert count(200) <= few
