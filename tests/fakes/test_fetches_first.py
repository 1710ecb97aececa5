"""Missing exception vectors on a CPU that fetches before it compares (Arm ARM D1.3.5.5).

No comparator on such a vector is met there, and the fault of its fetch overwrites what the first
one has saved.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from gdbstub.aarch64.registers import ELR_EL1, FAR_EL1, VBAR_EL1, X
from gdbstub.target import Action
from tests.contract.client import Client
from tests.contract.programs import FILLS, Program, at
from tests.contract.recorder import StopRecorder
from tests.contract.test_range_without_vectors import END, faulting, is_told
from tests.fakes.machine import fake_machine
from tests.fakes.vcpu import FakeVcpu

if TYPE_CHECKING:
    from gdbstub.machine import Machine

Begin = Callable[[Program], StopRecorder]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Begin]:
    monkeypatch.setattr(FakeVcpu, "fetches_first", True)
    made: list[Machine] = []

    def begin(program: Program) -> StopRecorder:
        made.append(fake_machine(program.image))
        return StopRecorder(made[-1])

    yield begin
    for machine in made:
        machine.close()


def test_the_first_fault_of_a_loop_is_told(start: Begin) -> None:
    is_told(faulting(start, 0), 0)


def test_the_fault_of_a_step_is_told(start: Begin) -> None:
    client = Client(start(FILLS).machine)
    vcpu = client.machine.vcpus[0]
    vcpu.set(X[0], END)
    assert "data abort" in client.resume({1: Action.STEP}).text
    assert (vcpu.get(ELR_EL1), vcpu.get(FAR_EL1), vcpu.get(VBAR_EL1)) == (at(0), END, 0)
    assert client.pc(1) == 0x200
