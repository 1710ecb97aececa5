"""A debugger's steps while an interrupt waits: each must do what it does when none does.

The oracle is the machine itself: the same step from the same state with nothing pending.
"""

import threading
from collections.abc import Callable
from typing import Final

import pytest

from gdbstub.aarch64.registers import CPSR, ELR_EL1, PC, SPSR_EL1, VBAR_EL1, X
from gdbstub.debug.debugger import Debugger
from gdbstub.machine import Machine
from gdbstub.target import Action, BreakpointKind, Range, Report, Resume, Stopped, StopReason
from tests.bounds import HANGS
from tests.contract import stepped
from tests.contract.backends import Backend, Factory
from tests.contract.programs import BASE, LOOPS, STEPPED, VECTORS, at

pytestmark = pytest.mark.usefixtures("patient")

#: EL1h and EL1t, with IRQ and FIQ unmasked; D and A masked, or not.
MODES: Final = (0x305, 0x005, 0x304)

Debug = Callable[[], tuple[Debugger, Machine]]


@pytest.fixture
def debug(machine_factory: Factory) -> Debug:
    def make() -> tuple[Debugger, Machine]:
        machine = machine_factory(STEPPED.image)
        return Debugger(machine), machine

    return make


def _go(debugger: Debugger, action: Action | Range) -> Report | None:
    stopped = threading.Event()
    debugger.notify = stopped.set
    debugger.resume(Resume({1: action}))
    assert stopped.wait(HANGS)
    return debugger.take_report()


def _after_step(debugger: Debugger, machine: Machine, line: int, mode: int) -> dict[str, int]:
    """The state after one step of *line* from a fixed state."""
    stepped.place(machine.vcpus[0], line, mode)
    assert _go(debugger, Action.STEP) == Stopped(1)
    return stepped.state(machine.vcpus[0])


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: f"{mode:#x}")
def test_an_interrupt_that_waits_changes_nothing_of_a_step(
    debug: Debug, backend: Backend, mode: int
) -> None:
    debugger, machine = debug()
    for line, (_, text) in enumerate(STEPPED.lines):
        alone = _after_step(debugger, machine, line, mode)
        backend.pend_irq(machine, True)
        disturbed = _after_step(debugger, machine, line, mode)
        backend.pend_irq(machine, False)
        assert disturbed == alone, text


def test_many_steps_under_an_interrupt_never_enter_a_vector(
    debug: Debug, backend: Backend, long: bool
) -> None:
    debugger, machine = debug()
    vcpu = machine.vcpus[0]
    vcpu.set(VBAR_EL1, VECTORS)
    backend.pend_irq(machine, True)
    for _ in range(200 if long else 50):
        vcpu.set(PC, at(0))
        vcpu.set(CPSR, 0x305)
        for line in range(1, 4):
            assert _go(debugger, Action.STEP) == Stopped(1)
            assert vcpu.get(PC) == at(line)
        assert vcpu.get(X[1]) == 0x300
        assert vcpu.get(CPSR) == 0x305


@pytest.mark.parametrize("full", [False, True], ids=["free", "no comparator free"])
def test_a_range_under_an_interrupt_is_stepped_as_without(
    machine_factory: Factory, backend: Backend, full: bool
) -> None:
    machine = machine_factory(LOOPS.image)
    debugger, vcpu = Debugger(machine), machine.vcpus[0]
    vcpu.set(VBAR_EL1, VECTORS)
    vcpu.set(ELR_EL1, BASE + 0x800)
    vcpu.set(SPSR_EL1, 0x8000_0004)
    vcpu.set(X[1], 50)
    vcpu.set(CPSR, 0x305)
    backend.pend_irq(machine, True)
    for number in range(machine.breakpoint_slots if full else 0):
        debugger.insert(1, BreakpointKind.HARDWARE, BASE + 0x100 + 4 * number, 4)
    assert _go(debugger, Range(at(0), at(3))) == Stopped(1)
    assert [vcpu.get(row) for row in (PC, X[0], X[1])] == [at(3), 50, 0]
    assert vcpu.get(CPSR) & 0x3FF == 0x305
    assert (vcpu.get(ELR_EL1), vcpu.get(SPSR_EL1)) == (BASE + 0x800, 0x8000_0004)
    debugger.insert(1, BreakpointKind.SOFTWARE, VECTORS + 0x280, 4)
    assert _go(debugger, Action.CONTINUE) == Stopped(1, stop=StopReason.SWBREAK)
    assert vcpu.get(ELR_EL1) == at(3)


def test_a_raw_step_ends_at_the_interrupts_vector(debug: Debug, backend: Backend) -> None:
    debugger, machine = debug()
    vcpu = machine.vcpus[0]
    vcpu.set(VBAR_EL1, VECTORS)
    vcpu.set(CPSR, 0x305)
    backend.pend_irq(machine, True)
    debugger.step_irqs = True
    assert _go(debugger, Action.STEP) == Stopped(1)
    assert vcpu.get(PC) == VECTORS + 0x280
    assert vcpu.get(ELR_EL1) == at(0)
    debugger.step_irqs = False
    vcpu.set(SPSR_EL1, 0)
    vcpu.set(PC, at(0))
    vcpu.set(CPSR, 0x305)
    assert _go(debugger, Action.STEP) == Stopped(1)
    assert vcpu.get(PC) == at(1)


def test_an_interrupt_is_taken_when_the_guest_goes_on(debug: Debug, backend: Backend) -> None:
    """Undone is not lost."""
    debugger, machine = debug()
    vcpu = machine.vcpus[0]
    vcpu.set(VBAR_EL1, VECTORS)
    vcpu.set(CPSR, 0x305)
    backend.pend_irq(machine, True)
    assert _go(debugger, Action.STEP) == Stopped(1)
    assert vcpu.get(PC) == at(1)
    debugger.insert(1, BreakpointKind.SOFTWARE, VECTORS + 0x280, 4)
    assert _go(debugger, Action.CONTINUE) == Stopped(1, stop=StopReason.SWBREAK)
    assert vcpu.get(PC) == VECTORS + 0x280
    assert vcpu.get(ELR_EL1) == at(1)
    assert vcpu.get(SPSR_EL1) == 0x305
