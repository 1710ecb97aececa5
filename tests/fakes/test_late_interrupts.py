"""Steps on a CPU that takes a pending interrupt before the step's exception.

Neither KVM's emulated host nor most CPUs do so; the architecture does not say (Arm ARM D2.12).
"""

from collections.abc import Iterator
from contextlib import closing

import pytest

from gdbstub.aarch64.registers import CPSR, ELR_EL1, ESR_EL1, PC, SPSR_EL1, VBAR_EL1, X
from gdbstub.target import Action, Stopped
from tests.contract.client import Client
from tests.contract.programs import BASE, STEPPED, VECTORS, at
from tests.fakes.machine import FakeMachine, fake_machine, pend_irq

LOOKED_AT = (*X[:6], PC, CPSR, ELR_EL1, SPSR_EL1, ESR_EL1)
#: EL1h and EL1t with interrupts unmasked, EL1h with IRQ, FIQ or both masked.
MODES = (0x305, 0x005, 0x304, 0x385, 0x345, 0x3C5)


@pytest.fixture
def client() -> Iterator[Client]:
    with closing(fake_machine(STEPPED.image)) as machine:
        machine.vcpus[0].irq_before_step = True
        yield Client(machine)


def after_step(client: Client, line: int, mode: int, *, returns_to: int, irq: bool) -> list[int]:
    """Return the state after one step of *line* from a fixed state."""
    machine = client.machine
    assert isinstance(machine, FakeMachine)
    vcpu = machine.vcpus[0]
    for number in range(6):
        vcpu.set(X[number], 0x100 + number)
    vcpu.set(X[2], 0x345)
    vcpu.set(X[4], VECTORS + 0x280)  # a branch to there is no interrupt
    vcpu.set(VBAR_EL1, VECTORS)
    vcpu.set(ELR_EL1, VECTORS + 0x280 if returns_to == 0x3C5 else BASE + 0x800)
    vcpu.set(SPSR_EL1, returns_to)
    vcpu.set(ESR_EL1, 0)
    vcpu.set(PC, at(line))
    vcpu.set(CPSR, mode)
    pend_irq(machine, irq)
    assert client.resume({1: Action.STEP}) == Stopped(1)
    return [vcpu.get(row) for row in LOOKED_AT]


@pytest.mark.parametrize("returns_to", [0x8000_0004, 0x3C5], ids=hex)
@pytest.mark.parametrize("mode", MODES, ids=hex)
def test_an_interrupt_that_a_step_lets_in_does_not_show(
    client: Client, mode: int, returns_to: int
) -> None:
    for line, (_, text) in enumerate(STEPPED.lines):
        alone = after_step(client, line, mode, returns_to=returns_to, irq=False)
        disturbed = after_step(client, line, mode, returns_to=returns_to, irq=True)
        assert disturbed == alone, text
