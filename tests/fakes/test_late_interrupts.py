"""Steps on a CPU that takes a pending interrupt or SError before the step's exception.

Neither KVM's emulated host nor most CPUs do so; the architecture does not say (Arm ARM D2.12).
"""

from collections.abc import Iterator
from contextlib import closing

import pytest

from gdbstub.aarch64.registers import ELR_EL1, PC, SPSR_EL1, VBAR_EL1, X
from gdbstub.target import Action, Stopped
from tests.contract import stepped
from tests.contract.client import Client
from tests.contract.programs import BASE, STEPPED, VECTORS
from tests.fakes.machine import FakeMachine, fake_machine, pend_irq

#: EL1h and EL1t with interrupts unmasked, EL1h with IRQ, FIQ or both masked.
MODES = (0x305, 0x005, 0x304, 0x385, 0x345, 0x3C5)


@pytest.fixture
def client() -> Iterator[Client]:
    with closing(fake_machine(STEPPED.image)) as machine:
        machine.vcpus[0].irq_before_step = True
        yield Client(machine)


def after_step(
    client: Client, line: int, mode: int, *, returns_to: int, irq: bool
) -> dict[str, int]:
    """Return the state after one step of *line* from a fixed state."""
    machine = client.machine
    assert isinstance(machine, FakeMachine)
    elr = VECTORS + 0x280 if returns_to == 0x3C5 else BASE + 0x800
    stepped.place(machine.vcpus[0], line, mode, elr=elr, spsr=returns_to)
    pend_irq(machine, irq)
    assert client.resume({1: Action.STEP}) == Stopped(1)
    return stepped.state(machine.vcpus[0])


@pytest.mark.parametrize("returns_to", [0x8000_0004, 0x3C5], ids=hex)
@pytest.mark.parametrize("mode", MODES, ids=hex)
def test_an_interrupt_that_a_step_lets_in_does_not_show(
    client: Client, mode: int, returns_to: int
) -> None:
    for line, (_, text) in enumerate(STEPPED.lines):
        alone = after_step(client, line, mode, returns_to=returns_to, irq=False)
        disturbed = after_step(client, line, mode, returns_to=returns_to, irq=True)
        assert disturbed == alone, text


@pytest.mark.parametrize("vbar", [VECTORS, 0], ids=["vectors", "none"])
@pytest.mark.parametrize(("line", "mode"), [(3, 0x3C5), (9, 0x305), (9, 0x3C5)], ids=str)
def test_an_serror_that_a_step_lets_in_is_taken_where_the_guest_has_its_vectors(
    client: Client, line: int, mode: int, vbar: int
) -> None:
    """Line 3 is MSR DAIF, line 9 MSR DAIFClr."""
    machine = client.machine
    assert isinstance(machine, FakeMachine)
    vcpu = machine.vcpus[0]
    vcpu.serror_before_step = vcpu.serror = True
    stepped.place(vcpu, line, mode)
    vcpu.set(VBAR_EL1, vbar)
    vcpu.set(X[2], 0)
    report = client.resume({1: Action.STEP})
    assert (vcpu.get(VBAR_EL1), hex(vcpu.get(PC))) == (vbar, hex(vbar + 0x380))
    assert vcpu.get(ELR_EL1) == BASE + 4 * (line + 1)
    assert hex(vcpu.get(SPSR_EL1)) == hex(mode & ~0x3C0)
    assert ("an SError" in report.text) is (not vbar)
