"""PSCI, system events and reset."""

import pytest

from gdbstub.aarch64.registers import CPSR, PC, VBAR_EL1, X
from gdbstub.aarch64.sysreg import DBGWCR, EC
from gdbstub.machine import DebugRegisters, Power, RunMode, SystemEvent, SystemEventKind, resettable
from gdbstub.target import Action, BreakpointKind, Exited, Range, Stopped, StopReason
from tests.contract.backends import Backend
from tests.contract.client import Client
from tests.contract.conftest import Start, offered
from tests.contract.programs import (
    BASE,
    DATA,
    SECONDARY,
    SECONDARY_LEAVES,
    SECONDARY_STORES,
    STRAIGHT,
    SYSTEM_OFF,
    SYSTEM_RESET,
    VECTORS,
    Program,
    at,
)
from tests.contract.run_control import HW, LEAVES_AND_COMES_BACK, NEVER, SW, put

ENTRY = 7  # of SECONDARY's second vCPU


def test_only_the_first_vcpu_is_on_at_first(start: Start) -> None:
    vcpus = start(SECONDARY, vcpus=3).machine.vcpus
    assert [vcpu.power for vcpu in vcpus] == [Power.ON, Power.OFF, Power.OFF]


def test_the_first_vcpu_starts_at_the_program_in_el1h(start: Start) -> None:
    vcpu = start(STRAIGHT).machine.vcpus[0]
    assert (vcpu.get(PC), vcpu.get(CPSR)) == (BASE, 0x3C5)


def test_cpu_on_starts_a_vcpu_that_stops_at_its_own_brk(start: Start) -> None:
    recorder = start(SECONDARY, vcpus=2)
    recorder.machine.arm(DebugRegisters(enabled=True))
    exit = recorder.debug()
    first, second = recorder.machine.vcpus
    assert (exit.vcpu, exit.esr.comment) == (1, 2)
    assert second.power is Power.ON
    assert second.get(PC) == at(ENTRY + 1)
    assert (second.get(X[0]), second.get(X[4])) == (0x55, 0x56)
    assert first.get(PC) in (at(5), at(6))  # still in its call, or behind it


def test_comparators_armed_while_a_vcpu_is_off_hit_on_its_first_instruction(start: Start) -> None:
    recorder = start(SECONDARY, vcpus=2)
    recorder.machine.arm(DebugRegisters(((0x1E7, at(ENTRY)),)))
    exit = recorder.debug()
    second = recorder.machine.vcpus[1]
    assert (exit.vcpu, exit.esr.EC) == (1, EC.BREAKPOINT_LOWER)
    assert (second.get(PC), second.get(X[4])) == (at(ENTRY), 0)


def test_watchpoints_armed_while_a_vcpu_is_off_hit_on_it(start: Start) -> None:
    recorder = start(SECONDARY_STORES, vcpus=2)
    watch = int(DBGWCR.of(E=1, PAC=0b11, LSC=0b10, BAS=0xFF))
    recorder.machine.arm(DebugRegisters(watchpoints=((watch, DATA),)))
    exit = recorder.debug()
    assert (exit.vcpu, exit.esr.EC, exit.far) == (1, EC.WATCHPOINT_LOWER, DATA)
    assert recorder.machine.vcpus[1].get(PC) == at(ENTRY)


def test_a_secondary_is_stepped_as_any_other(start: Start) -> None:
    recorder = start(SECONDARY, vcpus=2)
    recorder.machine.arm(DebugRegisters(((0x1E7, at(ENTRY)),)))
    recorder.debug()
    recorder.machine.arm(DebugRegisters())
    exit = recorder.step(1)
    assert (exit.vcpu, exit.esr.EC) == (1, EC.STEP_LOWER)
    assert recorder.machine.vcpus[1].get(X[4]) == 0x56


def test_cpu_off_turns_a_vcpu_off(start: Start) -> None:
    recorder = start(SECONDARY_LEAVES, vcpus=2)
    recorder.machine.arm(DebugRegisters(enabled=True))
    exit = recorder.debug()
    assert (exit.vcpu, exit.esr.comment) == (0, 1)
    assert [vcpu.power for vcpu in recorder.machine.vcpus] == [Power.ON, Power.OFF]


def test_a_vcpu_that_is_off_can_be_resumed_and_interrupted(start: Start) -> None:
    recorder = start(SECONDARY, vcpus=2)
    recorder.machine.resume({1: RunMode()})
    recorder.machine.interrupt()
    assert recorder.wait() == ()
    assert recorder.machine.vcpus[1].power is Power.OFF


@pytest.mark.parametrize(
    ("program", "kind"),
    [(SYSTEM_OFF, SystemEventKind.SHUTDOWN), (SYSTEM_RESET, SystemEventKind.RESET)],
    ids=["off", "reset"],
)
def test_system_events_park_with_their_kind(
    start: Start, program: Program, kind: SystemEventKind
) -> None:
    recorder = start(program, vcpus=2)
    assert recorder.run() == (SystemEvent(0, kind),)
    assert recorder.nothing_more()
    assert {vcpu.power for vcpu in recorder.machine.vcpus} == {Power.OFF}


def test_a_call_writes_its_four_results_also_when_it_ends_the_system(start: Start) -> None:
    """SMCCC 1.0: x0 to x3; KVM answers INTERNAL_FAILURE, which nobody should ever see."""
    recorder = start(SYSTEM_OFF)
    vcpu = recorder.machine.vcpus[0]
    for n in range(6):
        vcpu.set(X[n], 0x77)
    recorder.run()
    assert [vcpu.get(X[n]) for n in range(6)] == [(1 << 64) - 6, 0, 0, 0, 0x77, 0x77]


@pytest.mark.needs("reset")
def test_reset_gives_the_first_instruction_again(start: Start) -> None:
    recorder = start(SYSTEM_RESET)
    machine = recorder.machine
    machine.write_memory(DATA, b"dirt")
    machine.vcpus[0].set(X[5], 5)
    recorder.run()
    old = machine.vcpus[0]
    offered(resettable(machine)).reset()
    vcpu = machine.vcpus[0]
    assert vcpu is not old
    assert (vcpu.get(PC), vcpu.get(CPSR), vcpu.get(X[5])) == (BASE, 0x3C5, 0)
    assert machine.read_memory(DATA, 4) == bytes(4)
    assert machine.read_memory(BASE, 4) == SYSTEM_RESET.image[:4]
    # And it all works again.
    assert recorder.step().esr.EC == EC.STEP_LOWER
    assert recorder.run() == (SystemEvent(0, SystemEventKind.RESET),)


@pytest.mark.needs("reset")
def test_reset_turns_secondaries_off(start: Start) -> None:
    recorder = start(SECONDARY, vcpus=2)
    recorder.machine.arm(DebugRegisters(enabled=True))
    recorder.debug()
    offered(resettable(recorder.machine)).reset()
    assert [vcpu.power for vcpu in recorder.machine.vcpus] == [Power.ON, Power.OFF]
    recorder.machine.arm(DebugRegisters(enabled=True))
    assert recorder.debug().vcpu == 1


# Calls under a breakpoint that does not stop.

OFF, ON_AGAIN, WAITING, BACK = 14, 16, 22, 24


@pytest.mark.parametrize("kind", [SW, HW])
def test_a_vcpu_that_turns_itself_off_at_such_a_breakpoint_keeps_no_other(
    start: Start, kind: BreakpointKind
) -> None:
    client = Client(start(LEAVES_AND_COMES_BACK, vcpus=2).machine)
    put(client, kind, at(OFF), NEVER)
    put(client, HW, at(ON_AGAIN))
    put(client, SW, at(BACK + 1))
    assert client.go() == Stopped(1, stop=StopReason.HWBREAK)
    assert client.pc(1) == at(ON_AGAIN)
    assert client.machine.vcpus[1].power is Power.OFF
    client.target.remove(1, HW, at(ON_AGAIN), 4)
    assert client.go() == Stopped(2, stop=StopReason.SWBREAK)
    assert (client.pc(2), client.x(2, 5)) == (at(BACK + 1), DATA + 1)


@pytest.mark.parametrize("kind", [SW, HW])
def test_a_step_in_which_a_vcpu_is_off_for_a_while_ends_when_it_is_back(
    start: Start, kind: BreakpointKind
) -> None:
    client = Client(start(LEAVES_AND_COMES_BACK, vcpus=2).machine)
    put(client, SW, at(OFF))
    assert client.go() == Stopped(2, stop=StopReason.SWBREAK)
    client.target.remove(1, SW, at(OFF), 4)
    put(client, kind, at(OFF), NEVER)
    put(client, SW, at(WAITING + 1), NEVER)
    assert client.resume({1: Action.CONTINUE, 2: Action.STEP}) == Stopped(2)
    assert client.pc(2) in (at(BACK), at(BACK + 1))
    assert client.machine.vcpus[1].power is Power.ON


def test_a_vcpu_that_was_off_during_a_step_comes_back_with_its_interrupts_masked(
    start: Start, backend: Backend
) -> None:
    """An interrupt pended when it went, so the step was made with interrupts masked."""
    client = Client(start(LEAVES_AND_COMES_BACK, vcpus=2).machine)
    put(client, SW, at(OFF))
    assert client.go() == Stopped(2, stop=StopReason.SWBREAK)
    client.target.remove(1, SW, at(OFF), 4)
    vcpu = client.machine.vcpus[1]
    vcpu.set(VBAR_EL1, VECTORS)
    vcpu.set(CPSR, 0x305)
    backend.pend_irq(client.machine, True, 1)
    assert client.resume({1: Action.CONTINUE, 2: Action.STEP}) == Stopped(2)
    assert client.pc(2) in (at(BACK), at(BACK + 1))
    assert vcpu.get(CPSR) == 0x3C5


@pytest.mark.parametrize("action", [Action.STEP, Range(at(15), at(16))], ids=["step", "range"])
def test_a_vcpu_that_is_off_comes_back_with_its_interrupts_masked(
    start: Start, action: Action | Range
) -> None:
    """Interrupts are masked while a range is run, and are then as they were before."""
    client = Client(start(LEAVES_AND_COMES_BACK, vcpus=2).machine)
    put(client, HW, at(ON_AGAIN))
    put(client, SW, at(BACK + 1))
    assert client.go() == Stopped(1, stop=StopReason.HWBREAK)
    vcpu = client.machine.vcpus[1]
    assert (vcpu.power, client.pc(2)) == (Power.OFF, at(OFF + 1))
    client.target.remove(1, HW, at(ON_AGAIN), 4)
    vcpu.set(CPSR, 0x305)
    assert client.resume({1: Action.CONTINUE, 2: action}).thread == 2
    assert client.pc(2) in (at(BACK), at(BACK + 1))
    assert vcpu.get(CPSR) == 0x3C5


@pytest.mark.parametrize("kind", [SW, HW])
@pytest.mark.parametrize("program", [SYSTEM_OFF, SYSTEM_RESET], ids=["off", "reset"])
def test_a_call_that_ends_the_system_at_such_a_breakpoint_ends_it(
    start: Start, kind: BreakpointKind, program: Program
) -> None:
    client = Client(start(program, vcpus=2).machine)
    client.target.reboots = False
    put(client, kind, at(2), NEVER)
    assert client.run_to_report() == Exited()
    assert client.machine.read_memory(at(2), 4) == program.image[8:12]
