"""PSCI, system events and reset."""

import pytest

from gdbstub.aarch64.registers import CPSR, PC, X
from gdbstub.aarch64.sysreg import DBGWCR, EC
from gdbstub.machine import DebugRegisters, Power, RunMode, SystemEvent, SystemEventKind, resettable
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
    Program,
    at,
)

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
