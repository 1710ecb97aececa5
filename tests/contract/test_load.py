"""Short forms of the runs of ``make load``: nothing is lost, and nothing grows."""

from pathlib import Path

import pytest

from gdbstub.machine import Machine
from tests.contract.backends import Factory
from tests.load import runs

pytestmark = pytest.mark.needs("reset")  # one fake is enough


@pytest.fixture
def make(machine_factory: Factory) -> runs.Make:
    def machine(program: bytes, vcpus: int) -> Machine:
        return machine_factory(program, vcpus=vcpus)

    return machine


def test_rounds_of_attach_and_detach(make: runs.Make, tmp_path: Path) -> None:
    runs.rounds(make, 12, tmp_path).check(memory=False)


def test_many_steps(make: runs.Make) -> None:
    runs.steps(make, 200).check(memory=False)


def test_many_hits_over_four_vcpus(make: runs.Make) -> None:
    runs.hits(make, 60).check(memory=False)


def test_many_breakpoints_at_once(make: runs.Make) -> None:
    runs.breakpoints(make, 40).check(memory=False)
