"""Calls of a client's, which return to a breakpoint where nothing can execute."""

import pytest

from gdbstub.aarch64.registers import CPSR, ELR_EL1, SCTLR_EL1, SPSR_EL1, X
from gdbstub.aarch64.sysreg import SCTLR
from gdbstub.debug.placement import Preference
from gdbstub.swbp import BRK
from gdbstub.target import Action, Stopped, StopReason
from tests.contract.conftest import Start
from tests.contract.programs import program
from tests.contract.spaces import EL1H, KERNEL, KERNEL_GVA, NOP, ROUND, TEXT, USER_GVA
from tests.contract.test_placement import NG, PXN, READ_ONLY, UXN, Kernel
from tests.tables import AF

BACK = KERNEL_GVA + 0x5000
STOP = StopReason.SWBREAK

#: A function that calls another one, at line 5, and returns.
CALLS = program(
    (0xAA1E03F3, "mov x19, x30"),
    (0x94000004, "bl . + 16"),
    (0x91000400, "add x0, x0, #1"),
    (0xAA1303FE, "mov x30, x19"),
    (0xD65F03C0, "ret"),
    (0x91002800, "add x0, x0, #10"),
    (0xD65F03C0, "ret"),
)
INNER = KERNEL_GVA + 4 * 5


@pytest.fixture
def kernel(start_kvm: Start) -> Kernel:
    """A guest whose client has it call a function; x0 is 1."""
    made = Kernel(start_kvm(ROUND).machine, Preference.SOFTWARE)
    made.spaces.put(KERNEL, CALLS)
    vcpu = made.machine.vcpus[0]
    for register, value in ((X[0], 1), (ELR_EL1, 0x1230), (SPSR_EL1, 0x3C5)):
        vcpu.set(register, value)
    made.debugger.write_register(1, X[30], BACK.to_bytes(8, "little"))
    return made


def returned(kernel: Kernel) -> None:
    """Run: the next thing is the return, as if nothing had come in between."""
    vcpu = kernel.machine.vcpus[0]
    assert kernel.spaces.go() == Stopped(1, stop=STOP)
    assert (hex(kernel.spaces.pc()), vcpu.get(X[0])) == (hex(BACK), 12)
    assert (vcpu.get(ELR_EL1), vcpu.get(SPSR_EL1), vcpu.get(CPSR)) == (0x1230, 0x3C5, EL1H)


@pytest.mark.own_kvm
@pytest.mark.parametrize(
    "attributes",
    [0, AF | NG | READ_ONLY | PXN | UXN, AF | NG | READ_ONLY | PXN, AF | NG | 0b01 << 6],
    ids=["unmapped", "data", "a program's", "writable at EL0"],
)
@pytest.mark.parametrize("absent", [False, True], ids=["asked again", "absent for a step"])
def test_a_call_that_has_stopped_on_its_way_returns(
    kernel: Kernel, attributes: int, absent: bool
) -> None:
    """GDB takes all breakpoints back at a stop, and asks for them again when it goes on."""
    if attributes:
        kernel.map(BACK, TEXT, attributes)
    kernel.spaces.insert(BACK)
    kernel.spaces.insert(INNER)
    kernel.spaces.stops_at(INNER)
    assert kernel.machine.vcpus[0].get(X[30]) != BACK
    kernel.spaces.remove(BACK)
    kernel.spaces.remove(INNER)
    if absent:
        assert kernel.spaces.go(Action.STEP) == Stopped(1)
    kernel.spaces.insert(BACK)
    returned(kernel)
    assert kernel.spaces.word(TEXT) == NOP


@pytest.mark.own_kvm
@pytest.mark.parametrize("how", ["kernel's", "program's"])
def test_data_where_only_a_program_could_execute_stays_as_it_is(kernel: Kernel, how: str) -> None:
    """Sloppy tables of the lower half do not set UXN; with WXN the kernel executes no data."""
    back, vcpu = USER_GVA + 0x1000, kernel.machine.vcpus[0]
    own = how == "kernel's"
    spaces = kernel.spaces
    spaces.a = spaces._tables(5, AF | NG | (0 if own else 0b01 << 6), {back: TEXT})
    vcpu.set(SCTLR_EL1, SCTLR(vcpu.get(SCTLR_EL1)).replace(WXN=own))
    kernel.map(KERNEL_GVA, KERNEL)
    spaces.enter(KERNEL_GVA, spaces.a, el=1)
    kernel.debugger.write_register(1, X[30], back.to_bytes(8, "little"))
    spaces.insert(back)
    assert spaces.go() == Stopped(1, stop=STOP)
    assert (hex(spaces.pc()), vcpu.get(X[0])) == (hex(back), 12)
    assert spaces.word(TEXT) == NOP


@pytest.mark.own_kvm
def test_others_that_a_comparator_serves_better_leave_one_for_a_return(kernel: Kernel) -> None:
    kernel.debugger.breakpoints.preference = Preference.AUTO
    kernel.map(BACK, TEXT, AF | NG | READ_ONLY | PXN)
    kernel.map(KERNEL_GVA, KERNEL)
    kernel.spaces.enter(KERNEL_GVA, kernel.spaces.b, el=1)
    for number in range(kernel.machine.breakpoint_slots + 1):
        kernel.machine.write_memory(KERNEL + 0x100 + 4 * number, NOP)
        kernel.spaces.insert(KERNEL_GVA + 0x100 + 4 * number)
    kernel.spaces.insert(BACK)
    returned(kernel)


@pytest.mark.own_kvm
def test_a_call_within_a_call_returns_and_then_the_other(kernel: Kernel) -> None:
    vcpu = kernel.machine.vcpus[0]
    kernel.spaces.insert(BACK)
    kernel.spaces.insert(INNER)
    kernel.spaces.stops_at(INNER)
    saved = {register: vcpu.get(register) for register in (X[0], X[19], X[30])}
    kernel.debugger.write_register(1, X[30], BACK.to_bytes(8, "little"))
    kernel.spaces.remove(INNER)
    assert kernel.spaces.go() == Stopped(1, stop=STOP)
    assert hex(kernel.spaces.pc()) == hex(BACK)
    for register, value in saved.items():
        kernel.debugger.write_register(1, register, value.to_bytes(8, "little"))
    kernel.spaces.enter(INNER, kernel.spaces.a, el=1)
    kernel.spaces.remove(BACK)
    kernel.spaces.insert(BACK)
    returned(kernel)


@pytest.mark.own_kvm
def test_a_breakpoint_where_a_call_returned_to_is_one_once_it_can_be_executed(
    kernel: Kernel,
) -> None:
    kernel.spaces.insert(BACK)
    returned(kernel)
    kernel.spaces.remove(BACK)
    kernel.map(BACK & -4096, TEXT)
    kernel.spaces.enter(BACK - 4 + 8, kernel.spaces.b, el=1)
    kernel.spaces.insert(BACK)
    kernel.spaces.stops_at(BACK)
    assert kernel.spaces.word(TEXT) == BRK
