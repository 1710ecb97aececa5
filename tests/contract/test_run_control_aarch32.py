"""AArch32: at EL0 of an AArch64 kernel, and at EL1, whose exceptions are not AArch64's."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from gdbstub.aarch64.registers import (
    CPSR,
    ELR_EL1,
    ESR_EL1,
    PC,
    SP_EL0,
    SP_EL1,
    SPSR_EL1,
    VBAR_EL1,
    X,
)
from gdbstub.aarch64.sysreg import PSTATE
from gdbstub.errors import NoSlot, RegisterRefused
from gdbstub.kvm import abi as kvm_abi
from gdbstub.kvm.features import CpuOptions
from gdbstub.kvm_backend import KvmMachine
from gdbstub.protocol.packets import registers as packets
from gdbstub.protocol.packets.client_state import ClientState
from gdbstub.target import Action, Range, Stopped, StopReason
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.kvm_machine import kvm_machine, pend_irq
from tests.contract.programs import BASE, SPIN, STRAIGHT, VECTORS, at
from tests.contract.run_control import HW, SW, put

#: AArch32's modes in PSTATE, with everything unmasked.
USR, SVC = 0x10, 0x13
#: ``mrs x0, daif`` in A64, and ``ldrle r4, [r11, #-0x220]!`` in A32.
MRS_DAIF = 0xD53B_4220
#: A64's "msr daif, x0" and "msr daifset, #2"; A32's "ldrle" and "strle" of the like.
MSR_DAIF, MSR_DAIFSET = 0xD51B_4220, 0xD503_42DF
BKPT, A32_NOP, A32_SPIN = 0xE120_0070, 0xE320_F000, 0xEAFF_FFFE


def code(*words: int) -> bytes:
    return b"".join(word.to_bytes(4, "little") for word in words)


# AArch32 at EL0.


@pytest.mark.own_kvm
@pytest.mark.parametrize("word", [MRS_DAIF, MSR_DAIF, MSR_DAIFSET], ids=hex)
def test_a_step_of_aarch32_under_an_interrupt_is_not_decoded_as_a64(
    start_kvm: Start, word: int
) -> None:
    machine = start_kvm(SPIN).machine
    assert isinstance(machine, KvmMachine)
    client, vcpu = Client(machine), machine.vcpus[0]
    machine.write_memory(BASE, code(word, A32_SPIN))
    vcpu.set(VBAR_EL1, VECTORS)
    vcpu.set(PC, BASE)
    vcpu.set(X[0], 0x1234)
    vcpu.set(CPSR, USR)  # "le" is false: it does nothing
    pend_irq(machine, True)
    assert client.resume({1: Action.STEP}) == Stopped(1)
    assert (client.pc(1), client.x(1, 0)) == (BASE + 4, 0x1234)
    assert vcpu.get(CPSR) & 0x3FF == USR


# AArch32 at EL1.


@pytest.fixture
def at_el1() -> Iterator[Client | None]:
    """A vCPU of AArch32 at its supervisor mode; None where the host has none."""
    with closing(kvm_machine(SPIN.image)) as probe:
        if probe.extension(kvm_abi.CAP_ARM_EL1_32BIT) <= 0:
            yield None
            return
    with closing(kvm_machine(SPIN.image, cpu=CpuOptions(aarch32=True))) as machine:
        yield Client(machine)


@pytest.mark.own_kvm
@pytest.mark.parametrize("offset", [0x80, 0x100, 0x280, 0x200, 0x380], ids=hex)
def test_a_branch_to_what_would_be_a_vector_of_aarch64_is_stepped(
    at_el1: Client | None, offset: int
) -> None:
    if at_el1 is None:
        return
    vcpu = at_el1.machine.vcpus[0]
    vcpu.set(VBAR_EL1, VECTORS)
    target = VECTORS + offset
    for masks in 0x1C0, 0x00:
        at_el1.machine.write_memory(BASE, code(0xEA00_0000 | (target - BASE - 8) // 4))
        at_el1.machine.write_memory(target, code(A32_SPIN))
        vcpu.set(PC, BASE)
        vcpu.set(CPSR, SVC | masks)
        saved = vcpu.get(ELR_EL1), vcpu.get(SPSR_EL1)
        assert at_el1.resume({1: Action.STEP}) == Stopped(1)
        assert at_el1.pc(1) == target
        assert (vcpu.get(ELR_EL1), vcpu.get(SPSR_EL1)) == saved


@pytest.mark.own_kvm
@pytest.mark.parametrize(
    "action", [Action.CONTINUE, Action.STEP, Range(at(0), at(4))], ids=["continue", "step", "range"]
)
@pytest.mark.parametrize("mode", [SVC, USR], ids=hex)
def test_a_bkpt_of_its_own_is_refused_before_anything_is_written(
    at_el1: Client | None, action: Action | Range, mode: int
) -> None:
    """Or taken as AArch32 takes it; never half."""
    if at_el1 is None:
        return
    vcpu = at_el1.machine.vcpus[0]
    at_el1.machine.write_memory(BASE, code(BKPT, A32_NOP, A32_SPIN))
    put(at_el1, HW, BASE + 8)
    vcpu.set(VBAR_EL1, VECTORS)
    vcpu.set(PC, BASE)
    vcpu.set(CPSR, mode | 0x1C0)
    saved = vcpu.get(ELR_EL1), vcpu.get(SPSR_EL1), vcpu.get(ESR_EL1)
    report = at_el1.resume({1: action})
    assert "AArch32" in report.text
    assert "cannot run" not in report.text
    assert (at_el1.pc(1), vcpu.get(CPSR) & 0x1FF) == (BASE, mode | 0x1C0)
    assert (vcpu.get(ELR_EL1), vcpu.get(SPSR_EL1), vcpu.get(ESR_EL1)) == saved
    # It goes on where a client puts it behind.
    vcpu.set(PC, BASE + 4)
    assert not at_el1.go().text
    assert at_el1.pc(1) == BASE + 8


@pytest.mark.own_kvm
def test_code_of_a_kernel_of_aarch32_gets_no_brk(at_el1: Client | None) -> None:
    """An A64 BRK is another instruction there: a comparator serves, or the request is an error."""
    if at_el1 is None:
        return
    vcpu = at_el1.machine.vcpus[0]
    image = code(A32_NOP, A32_NOP, A32_NOP, A32_SPIN)
    at_el1.machine.write_memory(BASE, image)
    vcpu.set(PC, BASE)
    vcpu.set(CPSR, SVC | 0x1C0)
    put(at_el1, SW, BASE + 8)
    assert at_el1.go() == Stopped(1, stop=StopReason.SWBREAK)
    assert at_el1.pc(1) == BASE + 8
    assert at_el1.machine.read_memory(BASE, len(image)) == image
    for number in range(1, at_el1.machine.breakpoint_slots):
        put(at_el1, SW, BASE + 0x100 + 4 * number)
    with pytest.raises(NoSlot):
        put(at_el1, SW, BASE)


# The packet G.


def state_of(client: Client) -> ClientState:
    return ClientState(client.target, 4096)


def all_registers(state: ClientState) -> bytearray:
    reply = packets.read_all(state)
    assert isinstance(reply, bytes)
    return bytearray(bytes.fromhex(reply.decode()))


def put_in(data: bytearray, number: int, value: int) -> None:
    """Change one of x0 to x30, sp (31), pc (32) and cpsr (33)."""
    size = 4 if number == 33 else 8
    data[8 * number : 8 * number + size] = value.to_bytes(size, "little")


@pytest.mark.parametrize(("now", "then"), [(0x3C5, 0x3C4), (0x3C4, 0x3C5), (0x3C5, 0x3C0)], ids=hex)
def test_g_writes_sp_to_the_bank_of_the_pstate_that_it_carries(
    start: Start, now: int, then: int
) -> None:
    client = Client(start(SPIN).machine)
    vcpu = client.machine.vcpus[0]
    vcpu.set(CPSR, now)
    vcpu.set(SP_EL0, 0x1000)
    vcpu.set(SP_EL1, 0x2000)
    state = state_of(client)
    data = all_registers(state)
    put_in(data, 33, then)
    put_in(data, 31, 0x3000)
    assert packets.write_all(state, bytes(data)) == b"OK"
    assert all_registers(state) == data
    el1 = then == 0x3C5
    expected = (0x1000, 0x3000) if el1 else (0x3000, 0x2000)
    assert (vcpu.get(SP_EL0), vcpu.get(SP_EL1)) == expected


def test_g_writes_an_sp_that_only_the_new_pstate_has_not(start: Start) -> None:
    """``G`` has the value that was read from the other bank's SP."""
    client = Client(start(SPIN).machine)
    vcpu = client.machine.vcpus[0]
    vcpu.set(SP_EL0, 0x1000)
    vcpu.set(SP_EL1, 0x2000)
    state = state_of(client)
    data = all_registers(state)
    put_in(data, 33, 0x3C4)
    assert packets.write_all(state, bytes(data)) == b"OK"
    assert all_registers(state) == data
    assert (vcpu.get(SP_EL0), vcpu.get(SP_EL1)) == (0x2000, 0x2000)


def test_g_with_a_pstate_that_is_refused_changes_nothing(start: Start) -> None:
    client = Client(start(SPIN).machine)
    state = state_of(client)
    before = all_registers(state)
    data = bytearray(before)
    put_in(data, 33, 0x3C9)  # EL2h
    put_in(data, 0, 5)
    put_in(data, 31, 0x3000)
    with pytest.raises(RegisterRefused):
        packets.write_all(state, bytes(data))
    assert all_registers(state) == before


@pytest.mark.own_kvm
def test_g_from_aarch32_writes_a_pc_of_64_bits(start_kvm: Start) -> None:
    client = Client(start_kvm(SPIN).machine)
    vcpu = client.machine.vcpus[0]
    vcpu.set(CPSR, USR)
    state = state_of(client)
    data = all_registers(state)
    put_in(data, 33, 0x3C5)
    put_in(data, 32, 0xFFFF_8000_1234_5678)
    put_in(data, 31, 0xFFFF_8000_0000_1000)
    put_in(data, 13, 0x13)
    assert packets.write_all(state, bytes(data)) == b"OK"
    assert all_registers(state) == data
    assert vcpu.get(PC) == 0xFFFF_8000_1234_5678
    assert vcpu.get(SP_EL1) == 0xFFFF_8000_0000_1000
    assert PSTATE(vcpu.get(CPSR)) == 0x3C5


@pytest.mark.own_kvm
def test_g_to_aarch32_writes_what_it_has(start_kvm: Start) -> None:
    client = Client(start_kvm(SPIN).machine)
    vcpu = client.machine.vcpus[0]
    vcpu.set(SP_EL1, 0xFFFF_8000_0000_1000)
    state = state_of(client)
    data = all_registers(state)
    put_in(data, 33, USR)
    put_in(data, 32, 0x8000)
    put_in(data, 13, 0x7000)
    put_in(data, 31, 0x7000)
    assert packets.write_all(state, bytes(data)) == b"OK"
    assert vcpu.get(PC) == 0x8000
    assert (vcpu.get(X[13]), vcpu.get(SP_EL1)) == (0x7000, 0xFFFF_8000_0000_1000)


# T32.


def test_the_second_half_of_a_comparators_word_is_nobodys_breakpoint(start: Start) -> None:
    """A comparator for four bytes is hit by an instruction of T32 in the last two, too."""
    client = Client(start(STRAIGHT).machine)
    put(client, HW, at(2))
    breakpoints = client.target.breakpoints
    breakpoints.arm()
    for gva, kinds in (at(2), (HW,)), (at(2) + 2, ()):
        assert breakpoints.comparator_at(gva)
        assert breakpoints.kinds_at(0, gva) == kinds
