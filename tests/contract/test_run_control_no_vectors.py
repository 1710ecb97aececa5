"""A fault of a guest whose exception vectors are not there: one stop that says which it was."""

from collections.abc import Callable, Mapping

import pytest

from gdbstub.aarch64.registers import (
    CPSR,
    ELR_EL1,
    ESR_EL1,
    FAR_EL1,
    PC,
    SCTLR_EL1,
    SYSTEM_REGISTERS,
    TCR_EL1,
    TTBR0_EL1,
    VBAR_EL1,
    X,
)
from gdbstub.aarch64.sysreg import ESR, SCTLR, TCR
from gdbstub.debug.caches import Content
from gdbstub.kvm_backend import KvmMachine
from gdbstub.machine import Machine
from gdbstub.target import Action, BreakpointKind, Range, Stopped, StopReason
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.programs import BASE, COUNT, DATA, STRAIGHT, VECTORS, Program, at
from tests.contract.run_control import FAULTS, HW, SW, put
from tests.tables import AF, Tables

Begin = Callable[[Program], Client]

#: An address without RAM.
NOWHERE = 0x1000
#: By the line of ``FAULTS``: its class in words, ELR and ESR.EC.
CALL, UNDEFINED, SVC, BRK = range(4)
EXPECTED = {
    CALL: ("instruction abort", NOWHERE, 0x21),
    UNDEFINED: ("unknown reason", at(1), 0x00),
    SVC: ("SVC", at(3), 0x15),
    BRK: ("BRK", at(3), 0x3C),
}
ACTIONS = pytest.mark.parametrize(
    "action",
    [Action.CONTINUE, Action.STEP, Range(at(0), at(5))],
    ids=["continue", "step", "range"],
)


@pytest.fixture
def begin(start: Start) -> Begin:
    return lambda program: Client(start(program).machine)


def told(client: Client, report: Stopped, line: int) -> None:
    vcpu = client.machine.vcpus[0]
    words, elr, ec = EXPECTED[line]
    assert report.stop is StopReason.PLAIN
    assert words in report.text
    assert f"ELR_EL1 {elr:#x}" in report.text
    assert (hex(client.pc(1)), hex(vcpu.get(ELR_EL1))) == (
        hex(vcpu.get(VBAR_EL1) + 0x200),
        hex(elr),
    )
    assert ESR(vcpu.get(ESR_EL1)).EC == ec
    if line == CALL:
        assert f"FAR_EL1 {NOWHERE:#x}" in report.text
        assert vcpu.get(FAR_EL1) == NOWHERE


@ACTIONS
@pytest.mark.parametrize("line", EXPECTED, ids=["call", "undefined", "svc", "brk"])
@pytest.mark.parametrize("vbar", [0, 0x1000_0000_0000], ids=hex)
def test_the_first_fault_is_told(
    begin: Begin, line: int, action: Action | Range, vbar: int
) -> None:
    client = begin(FAULTS)
    vcpu = client.machine.vcpus[0]
    vcpu.set(VBAR_EL1, vbar)
    vcpu.set(X[1], NOWHERE)
    vcpu.set(PC, at(line))
    report = client.resume({1: action})
    if line == CALL and action is not Action.CONTINUE and client.pc(1) == NOWHERE:
        assert report == Stopped(1)  # the branch was one step
        report = client.resume({1: action})
    told(client, report, line)


@pytest.mark.parametrize("line", EXPECTED, ids=["call", "undefined", "svc", "brk"])
def test_the_first_fault_of_a_step_is_told_while_every_comparator_is_in_use(
    begin: Begin, line: int
) -> None:
    client = begin(FAULTS)
    vcpu = client.machine.vcpus[0]
    vcpu.set(X[1], NOWHERE)
    vcpu.set(PC, at(line))
    for number in range(client.machine.breakpoint_slots):
        put(client, HW, DATA + 4 * number)
    report = client.resume({1: Action.STEP})
    if line == CALL and client.pc(1) == NOWHERE:
        assert report == Stopped(1)  # the branch was one step
        report = client.resume({1: Action.STEP})
    told(client, report, line)


@pytest.mark.parametrize("line", EXPECTED, ids=["call", "undefined", "svc", "brk"])
def test_who_goes_on_from_it_is_told_again(begin: Begin, line: int) -> None:
    client = begin(FAULTS)
    vcpu = client.machine.vcpus[0]
    vcpu.set(X[1], NOWHERE)
    vcpu.set(PC, at(line))
    for action in Action.CONTINUE, Action.CONTINUE, Action.STEP, Range(0, 0x1000):
        report = client.resume({1: action})
        assert report.text
        assert client.pc(1) == 0x200
    # Put right by hand, it goes on.
    vcpu.set(PC, at(4))
    put(client, SW, at(5))
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)


@pytest.mark.own_kvm
def test_a_pc_that_is_not_aligned_is_told(start_kvm: Start) -> None:
    client = Client(start_kvm(STRAIGHT).machine)
    vcpu = client.machine.vcpus[0]
    vcpu.set(PC, at(1) + 2)
    report = client.go()
    assert "PC alignment" in report.text
    assert vcpu.get(ELR_EL1) == at(1) + 2


@ACTIONS
def test_a_breakpoint_and_a_watchpoint_are_still_told(begin: Begin, action: Action | Range) -> None:
    client = begin(FAULTS)
    client.machine.vcpus[0].set(PC, at(4))
    put(client, SW, at(4))
    assert client.resume({1: action}) == Stopped(1, stop=StopReason.SWBREAK)
    client.target.insert(1, BreakpointKind.WRITE, DATA, 8)
    client.machine.vcpus[0].set(PC, at(1))
    assert "unknown reason" in client.resume({1: action}).text


def test_vectors_that_the_guest_sets_up_later_are_its_own_affair(begin: Begin) -> None:
    """A kernel that boots has no vectors at first, and sets them up later."""
    client = begin(STRAIGHT)
    vcpu = client.machine.vcpus[0]
    put(client, SW, at(1))
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    vcpu.set(VBAR_EL1, DATA & -0x800)
    client.machine.write_memory((DATA & -0x800) + 0x200, bytes.fromhex("00000014"))  # b .
    vcpu.set(PC, at(2))
    client.machine.write_memory(at(2), bytes(4))  # udf #0
    put(client, SW, (DATA & -0x800) + 0x200)
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    assert vcpu.get(ELR_EL1) == at(2)


@pytest.mark.parametrize("how", ["the MMU is on", "unmapped"])
@ACTIONS
def test_vectors_that_were_there_once_are_looked_for_again(
    begin: Begin, action: Action | Range, how: str
) -> None:
    """The guest has switched its MMU on without a mapping for them, or has unmapped them."""
    client = begin(FAULTS)
    vcpu = client.machine.vcpus[0]
    vcpu.set(VBAR_EL1, VECTORS)
    tables = Tables(base=BASE + 0x10_0000)
    tables.map(BASE, BASE, 3, AF)
    if how == "unmapped":
        tables.map(VECTORS, VECTORS, 3, AF)
    for ipa, data in tables.content().items():
        client.machine.write_memory(ipa, data)
    vcpu.set(SYSTEM_REGISTERS["MAIR_EL1"], 0xFF)
    vcpu.set(TCR_EL1, TCR.of(**tables.tcr()))
    vcpu.set(TTBR0_EL1, tables.ttbr)
    on = SCTLR(vcpu.get(SCTLR_EL1)).replace(M=1)
    if how == "unmapped":
        vcpu.set(SCTLR_EL1, on)
    vcpu.set(PC, at(4))
    put(client, SW, at(5))
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    vcpu.set(SCTLR_EL1, on)
    if how == "unmapped":
        client.machine.write_memory(tables.place(VECTORS, 3), bytes(8))
        vcpu.set(TTBR0_EL1, tables.ttbr | 7 << 48)  # with an ASID that no TLB knows
    client.target.caches.invalidate(Content.REGISTER_WRITTEN)
    vcpu.set(PC, at(SVC))
    told(client, client.resume({1: action}), SVC)


def test_code_of_a_process_at_a_vectors_address_is_no_exception(begin: Begin) -> None:
    """VBAR_EL1 is 0 yet, and so is the address of a program that only EL0 may execute."""
    client = begin(STRAIGHT)
    vcpu = client.machine.vcpus[0]
    tables = Tables(base=BASE + 0x10_0000)
    tables.map(0, BASE, 3, AF | 0b01 << 6)
    for ipa, data in tables.content().items():
        client.machine.write_memory(ipa, data)
    client.machine.write_memory(BASE + 0x200, STRAIGHT.image)
    vcpu.set(SYSTEM_REGISTERS["MAIR_EL1"], 0xFF)
    vcpu.set(TCR_EL1, TCR.of(**tables.tcr()))
    vcpu.set(TTBR0_EL1, tables.ttbr)
    vcpu.set(SCTLR_EL1, SCTLR(vcpu.get(SCTLR_EL1)).replace(M=1))
    client.target.caches.invalidate(Content.REGISTER_WRITTEN)
    vcpu.set(CPSR, 0x3C0)
    vcpu.set(PC, 0x200)
    assert client.resume({1: Action.STEP}) == Stopped(1)
    assert client.pc(1) == 0x204


def test_a_fault_at_el0_is_told(begin: Begin) -> None:
    client = begin(FAULTS)
    vcpu = client.machine.vcpus[0]
    vcpu.set(CPSR, 0)
    vcpu.set(PC, at(SVC))
    report = client.go()
    assert "SVC" in report.text
    assert (client.pc(1), vcpu.get(ELR_EL1)) == (0x400, at(SVC) + 4)


@pytest.mark.own_kvm
@pytest.mark.parametrize(
    ("action", "full"),
    [(Action.CONTINUE, False), (Action.STEP, False), (Action.STEP, True)],
    ids=["continue", "step", "no comparator free"],
)
def test_an_access_beyond_all_memory_is_told(start_kvm: Start, action: Action, full: bool) -> None:
    client = Client(start_kvm(STRAIGHT).machine)
    vcpu = client.machine.vcpus[0]
    vcpu.set(SCTLR_EL1, SCTLR(vcpu.get(SCTLR_EL1)).replace(A=1))
    client.machine.write_memory(at(0), 0xB9400001.to_bytes(4, "little"))  # ldr w1, [x0]
    vcpu.set(X[0], 1 << 45)  # no physical address is so large
    for number in range(client.machine.breakpoint_slots if full else 0):
        put(client, HW, DATA + 4 * number)
    report = client.resume({1: action})
    assert "data abort" in report.text
    assert f"FAR_EL1 {1 << 45:#x}" in report.text


@pytest.mark.own_kvm
def test_plain_steps_cost_nothing_for_it(start_kvm: Start) -> None:
    """System calls of a step that cannot take an exception, with vectors and without."""
    costs = []
    for vbar in 0, VECTORS:
        client = Client(start_kvm(COUNT).machine)
        client.machine.vcpus[0].set(VBAR_EL1, vbar)
        client.resume({1: Action.STEP})
        before = dict(counts(client.machine))
        for _ in range(20):
            client.resume({1: Action.STEP})
        costs.append({name: n - before[name] for name, n in counts(client.machine).items()})
    assert costs[0] == costs[1]
    assert costs[0]["KVM_RUN"] == costs[0]["KVM_SET_ONE_REG"] == 20
    # Five are those of a stop reply, which are read in the same call as KVM_RUN.
    assert costs[0]["KVM_GET_ONE_REG"] <= 6 * 20 + 1
    assert costs[0]["KVM_SET_GUEST_DEBUG"] == 0


def counts(machine: Machine) -> Mapping[str, int]:
    assert isinstance(machine, KvmMachine)
    return machine.counts["ioctls"]
