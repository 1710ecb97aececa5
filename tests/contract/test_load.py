"""Short forms of the runs of ``make load``: nothing is lost, and nothing grows."""

from collections.abc import Callable
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


def check(run: Callable[[], runs.Figures]) -> None:
    """Check that *run* leaves nothing, in one of three tries.

    What a run leaves, it leaves each time. A lab that starts meanwhile opens descriptors in this
    process, too.
    """
    for more in (True, True, False):
        figures = run()  # what it finds itself is told at once
        try:
            figures.check(memory=False)
        except AssertionError:
            if not more:
                raise
        else:
            return


def test_rounds_of_attach_and_detach(make: runs.Make, tmp_path: Path) -> None:
    check(lambda: runs.rounds(make, 12, tmp_path))


def test_many_steps(make: runs.Make) -> None:
    check(lambda: runs.steps(make, 200))


def test_many_hits_over_four_vcpus(make: runs.Make) -> None:
    check(lambda: runs.hits(make, 60))


def test_many_breakpoints_at_once(make: runs.Make) -> None:
    check(lambda: runs.breakpoints(make, 40))
