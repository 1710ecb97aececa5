"""The fake machine beyond the contract: corrections of Unicorn, and details of KVM."""

from collections.abc import Callable, Iterator

import pytest

from gdbstub.aarch64.registers import (
    CPSR,
    ELR_EL1,
    ESR_EL1,
    FAR_EL1,
    PC,
    SPSR_EL1,
    VBAR_EL1,
    X,
)
from gdbstub.aarch64.sysreg import EC, PSTATE
from gdbstub.machine import DebugExit, DebugRegisters
from tests.contract.recorder import StopRecorder
from tests.fakes.assembler import assemble
from tests.fakes.machine import FakeMachine, fake_machine
from tests.fakes.ram import BASE

Start = Callable[..., tuple[FakeMachine, StopRecorder]]


@pytest.fixture
def start() -> Iterator[Start]:
    machines: list[FakeMachine] = []

    def make(text: str, *, vcpus: int = 1) -> tuple[FakeMachine, StopRecorder]:
        machine = fake_machine(assemble(text), vcpus=vcpus)
        machines.append(machine)
        machine.arm(DebugRegisters(enabled=True))
        return machine, StopRecorder(machine)

    yield make
    for machine in machines:
        machine.close()


def test_where_nothing_is_reads_are_zero_and_writes_are_lost(start: Start) -> None:
    machine, recorder = start(
        "mov x0, #0x9000000; mov w1, #7; mov w2, #8; str w1, [x0]; ldr w2, [x0]; brk #1"
    )
    recorder.debug()
    assert machine.vcpus[0].get(X[2]) == 0


def test_a_fetch_from_nowhere_is_an_instruction_abort(start: Start) -> None:
    machine, recorder = start("mov x0, #0x1000; br x0; nop; nop; 1: brk #2")
    vcpu = machine.vcpus[0]
    vcpu.set(VBAR_EL1, BASE)
    machine.write_memory(BASE + 0x200, assemble("brk #2"))
    assert recorder.debug().esr.comment == 2
    assert vcpu.get(ESR_EL1) == 0x8600_0010
    assert vcpu.get(FAR_EL1) == vcpu.get(ELR_EL1) == 0x1000


def test_svc_and_eret_change_the_exception_level(start: Start) -> None:
    machine, recorder = start(
        "adr x0, 1f; msr elr_el1, x0; msr spsr_el1, xzr; adr x0, 2f; msr vbar_el1, x0; eret;"
        "1: svc #5; nop; .balign 2048; 2: .space 0x400; mrs x3, currentel; brk #3"
    )
    vcpu = machine.vcpus[0]
    recorder.debug()
    assert vcpu.get(X[3]) == 1 << 2
    assert vcpu.get(ESR_EL1) == 0x5600_0005
    assert vcpu.get(SPSR_EL1) == 0
    assert vcpu.get(ELR_EL1) == BASE + 7 * 4


def test_eret_within_el1_is_legal(start: Start) -> None:
    machine, recorder = start(
        "adr x0, 1f; msr elr_el1, x0; mov x1, #0x3c5; msr spsr_el1, x1; eret; nop; 1: brk #1"
    )
    assert recorder.debug().esr.comment == 1
    assert machine.vcpus[0].get(CPSR) == 0x3C5


def test_el0_may_not_do_what_el1_may(start: Start) -> None:
    machine, recorder = start("mrs x0, vbar_el1; brk #1")
    vcpu = machine.vcpus[0]
    vcpu.set(VBAR_EL1, BASE)
    vcpu.set(CPSR, 0)
    machine.write_memory(BASE + 0x400, assemble("brk #2"))
    assert recorder.debug().esr.comment == 2
    assert vcpu.get(ESR_EL1) == 0x0200_0000


def test_a_caught_store_pair_has_stored_nothing(start: Start) -> None:
    machine, recorder = start(
        "adr x0, 1f; mov x1, #-1; stp x1, x1, [x0], #16; brk #1; .balign 16; 1: .quad 2, 3"
    )
    data = BASE + 16
    machine.arm(DebugRegisters(watchpoints=((0b1_1111_1111_0111, data + 8),), enabled=True))
    exit = recorder.debug()
    assert (exit.esr.EC, exit.far) == (EC.WATCHPOINT_LOWER, data + 8)
    assert machine.read_memory(data, 16) == (2).to_bytes(8, "little") + (3).to_bytes(8, "little")
    assert machine.vcpus[0].get(X[0]) == data


def test_exclusives_fail_when_stepped_and_succeed_when_run(start: Start) -> None:
    text = "adr x0, 1f; ldxr w1, [x0]; stxr w2, w1, [x0]; brk #1; 1: .word 5, 6"
    machine, recorder = start(text)
    esrs = [recorder.step().esr for _ in range(3)]
    assert [esr.EX for esr in esrs] == [0, 1, 0]
    assert machine.vcpus[0].get(X[2]) == 1
    machine.vcpus[0].set(PC, BASE)
    recorder.debug()
    assert machine.vcpus[0].get(X[2]) == 0


def test_a_pending_interrupt_comes_instead_of_a_stepped_instruction(start: Start) -> None:
    machine, recorder = start("nop; nop")
    vcpu = machine.vcpus[0]
    vcpu.set(VBAR_EL1, BASE + 0x800)
    vcpu.set(CPSR, 0x345)
    vcpu.irq = True
    assert recorder.step().esr.EC == EC.STEP_LOWER
    assert vcpu.get(PC) == BASE + 0x800 + 0x280
    assert vcpu.get(ELR_EL1) == BASE
    assert PSTATE(vcpu.get(SPSR_EL1)).SS == 1  # KVM's leak
    assert PSTATE(vcpu.get(CPSR)).I == 1


def test_a_masked_interrupt_waits(start: Start) -> None:
    machine, recorder = start("nop; nop")
    machine.vcpus[0].irq = True
    recorder.step()
    assert machine.vcpus[0].get(PC) == BASE + 4


def test_two_vcpus_may_stop_at_once(start: Start) -> None:
    _, recorder = start(
        "mov x0, #3; movk x0, #0xc400, lsl #16; mov x1, #1; adr x2, 1f; hvc #0; b 2f;"
        "1: wfi; 2: brk #1",
        vcpus=2,
    )
    # HVC ends a turn and so does WFI: both reach BRK in the same round, which is finished.
    exits = recorder.run()
    assert [e.vcpu for e in exits if isinstance(e, DebugExit)] == [0, 1]


def test_each_vcpu_knows_its_number(start: Start) -> None:
    machine, recorder = start(
        "mov x0, #3; movk x0, #0xc400, lsl #16; mov x1, #1; adr x2, 1f; hvc #0; wfi; b .;"
        "1: mrs x3, mpidr_el1; brk #1",
        vcpus=2,
    )
    recorder.debug()
    assert machine.vcpus[1].get(X[3]) == 0x8000_0001
