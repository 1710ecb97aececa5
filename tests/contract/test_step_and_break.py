"""Single steps, hardware breakpoints and BRK: what exits, where, and how often."""

from gdbstub.aarch64.registers import (
    CPSR,
    ELR_EL1,
    ESR_EL1,
    PC,
    SPSR_EL1,
    VBAR_EL1,
    X,
)
from gdbstub.aarch64.sysreg import DBGBCR, EC
from gdbstub.machine import DebugExit, DebugRegisters, SystemEvent, SystemEventKind
from tests.contract.conftest import Start
from tests.contract.programs import (
    BREAKS,
    COUNT,
    HANDLER,
    SLIDE,
    STRAIGHT,
    SYNC_EL1H,
    VECTORS,
    at,
)

EL1_AND_EL0 = int(DBGBCR.of(E=1, PMC=0b11, BAS=0b1111))
EL0_ONLY = int(DBGBCR.of(E=1, PMC=0b10, BAS=0b1111))
DISABLED = int(DBGBCR.of(E=0, PMC=0b11, BAS=0b1111))


def _breakpoints(*lines: int, control: int = EL1_AND_EL0, enabled: bool = True) -> DebugRegisters:
    return DebugRegisters(tuple((control, at(line)) for line in lines), enabled=enabled)


# Steps.


def test_a_step_executes_one_instruction_and_exits_after_it(start: Start) -> None:
    recorder = start(STRAIGHT)
    vcpu = recorder.machine.vcpus[0]
    assert vcpu.get(PC) == at(0)
    seen = []
    for _ in range(5):
        exit = recorder.step()
        assert exit == DebugExit(0, exit.esr)
        assert exit.esr.EC == EC.STEP_LOWER
        seen.append((vcpu.get(PC), vcpu.get(X[0]), vcpu.get(X[1])))
    assert seen == [(at(1), 1, 0), (at(2), 2, 0), (at(3), 2, 0), (at(4), 2, 7), (at(4), 2, 7)]


def test_many_steps_through_a_loop_lose_none(start: Start) -> None:
    recorder = start(COUNT)
    vcpu = recorder.machine.vcpus[0]
    for n in range(1, 101):
        recorder.step()
        assert (vcpu.get(PC), vcpu.get(X[0])) == (at(n & 1), (n + 1) // 2)
    assert recorder.nothing_more()


def test_a_step_leaves_pstate_as_the_guest_has_it(start: Start) -> None:
    recorder = start(STRAIGHT)
    vcpu = recorder.machine.vcpus[0]
    vcpu.set(CPSR, 0x6000_03C5)
    recorder.step()
    assert vcpu.get(CPSR) == 0x6000_03C5


def test_after_steps_the_guest_runs_free_again(start: Start) -> None:
    recorder = start(SLIDE)
    recorder.machine.arm(DebugRegisters(enabled=True))
    recorder.step()
    recorder.step()
    assert recorder.debug().esr.EC == EC.BRK64
    assert recorder.machine.vcpus[0].get(PC) == at(16)


def test_registers_written_between_steps_are_used(start: Start) -> None:
    recorder = start(STRAIGHT)
    vcpu = recorder.machine.vcpus[0]
    recorder.step()
    vcpu.set(X[0], 41)
    recorder.step()
    assert vcpu.get(X[0]) == 42
    vcpu.set(PC, at(0))
    recorder.step()
    assert (vcpu.get(PC), vcpu.get(X[0])) == (at(1), 1)


# Hardware breakpoints.


def test_a_breakpoint_exits_before_its_instruction(start: Start) -> None:
    recorder = start(STRAIGHT)
    recorder.machine.arm(_breakpoints(1))
    exit = recorder.debug()
    assert exit == DebugExit(0, exit.esr)
    assert exit.esr.EC == EC.BREAKPOINT_LOWER
    vcpu = recorder.machine.vcpus[0]
    assert (vcpu.get(PC), vcpu.get(X[0])) == (at(1), 1)


def test_armed_comparators_need_no_enabled(start: Start) -> None:
    recorder = start(STRAIGHT)
    recorder.machine.arm(_breakpoints(2, enabled=False))
    assert recorder.debug().esr.EC == EC.BREAKPOINT_LOWER
    assert recorder.machine.vcpus[0].get(PC) == at(2)


def test_armed_comparators_let_every_brk_exit(start: Start) -> None:
    """KVM has one switch for comparators and BRKs (MDCR_EL2.TDE)."""
    recorder = start(SLIDE)
    recorder.machine.arm(_breakpoints(100, enabled=False))
    assert recorder.debug().esr.EC == EC.BRK64


def test_a_breakpoint_hits_again_until_it_is_disarmed(start: Start) -> None:
    recorder = start(STRAIGHT)
    machine = recorder.machine
    machine.arm(_breakpoints(0))
    for steps in {0: False}, {0: False}, {0: True}, {0: True}:
        assert recorder.debug(steps).esr.EC == EC.BREAKPOINT_LOWER
        assert machine.vcpus[0].get(PC) == at(0)
    machine.arm(DebugRegisters(enabled=True))
    assert recorder.step().esr.EC == EC.STEP_LOWER
    assert machine.vcpus[0].get(PC) == at(1)


def test_a_completed_step_comes_before_the_breakpoint_that_it_leads_to(start: Start) -> None:
    recorder = start(STRAIGHT)
    recorder.machine.arm(_breakpoints(1))
    assert recorder.step().esr.EC == EC.STEP_LOWER
    assert recorder.debug().esr.EC == EC.BREAKPOINT_LOWER
    assert recorder.machine.vcpus[0].get(PC) == at(1)


def test_every_breakpoint_slot_works(start: Start) -> None:
    recorder = start(SLIDE)
    machine = recorder.machine
    slots = machine.breakpoint_slots
    assert 2 <= slots <= 16
    for line in range(slots):
        machine.arm(_breakpoints(*range(line, slots)))
        assert recorder.debug().esr.EC == EC.BREAKPOINT_LOWER
        assert machine.vcpus[0].get(PC) == at(line)
    machine.arm(DebugRegisters(enabled=True))
    assert recorder.debug().esr.EC == EC.BRK64


def test_the_last_slot_is_as_good_as_the_first(start: Start) -> None:
    """All slots armed, and only the last one's address is ever reached."""
    recorder = start(STRAIGHT)
    machine = recorder.machine
    machine.arm(_breakpoints(*range(100, 99 + machine.breakpoint_slots), 3))
    assert recorder.debug().esr.EC == EC.BREAKPOINT_LOWER
    assert machine.vcpus[0].get(PC) == at(3)


def test_slots_that_are_off_or_for_el0_do_not_hit_at_el1(start: Start) -> None:
    recorder = start(SLIDE)
    for control in DISABLED, EL0_ONLY:
        recorder.machine.vcpus[0].set(PC, at(0))
        recorder.machine.arm(_breakpoints(3, control=control))
        assert recorder.debug().esr.EC == EC.BRK64


# BRK.


def test_brk_exits_with_its_immediate_before_it_executes(start: Start) -> None:
    recorder = start(BREAKS)
    machine, vcpu = recorder.machine, recorder.machine.vcpus[0]
    machine.arm(DebugRegisters(enabled=True))
    for line, comment in enumerate([0x123, 0xFFFF]):
        vcpu.set(PC, at(line))
        exit = recorder.debug()
        assert exit == DebugExit(0, exit.esr)
        assert (exit.esr.EC, exit.esr.comment) == (EC.BRK64, comment)
        assert vcpu.get(PC) == at(line)


def test_brk_under_a_step_exits_as_brk_and_moves_nothing(start: Start) -> None:
    recorder = start(BREAKS)
    for enabled in True, False:  # a step enables debug exits by itself
        recorder.machine.arm(DebugRegisters(enabled=enabled))
        assert recorder.step().esr.EC == EC.BRK64
        assert recorder.machine.vcpus[0].get(PC) == at(0)


def test_brk_goes_to_the_guest_while_debug_exits_are_off(start: Start) -> None:
    recorder = start(BREAKS)
    machine, vcpu = recorder.machine, recorder.machine.vcpus[0]
    # As if something had been armed before: off must mean off again.
    machine.arm(DebugRegisters(enabled=True))
    recorder.debug()
    machine.arm(DebugRegisters())
    machine.write_memory(SYNC_EL1H, HANDLER.image)
    vcpu.set(VBAR_EL1, VECTORS)
    vcpu.set(CPSR, 0x6000_03C5)
    assert recorder.run() == (SystemEvent(0, SystemEventKind.SHUTDOWN),)
    esr, elr, spsr = (vcpu.get(X[n]) for n in (19, 20, 21))
    assert (esr, elr, spsr) == (0xF200_0123, at(0), 0x6000_03C5)
    assert (vcpu.get(ESR_EL1), vcpu.get(ELR_EL1), vcpu.get(SPSR_EL1)) == (esr, elr, spsr)
