"""Random programs: continued, stepped and run by ranges, they end as they do undebugged.

``make soak`` does the same for hours with fresh seeds; see ``tests/soak``.
"""

from collections.abc import Iterator

import pytest
from _pytest.mark import ParameterSet

from tests.contract.backends import BACKENDS, Backend
from tests.soak import words
from tests.soak.case import draw
from tests.soak.check import check, fitting
from tests.soak.drive import run_undebugged
from tests.soak.program import INTERRUPTS, LINE, Group, Program, groups
from tests.soak.seeds import FEW, FIXED, FOUND
from tests.soak.state import load, unseen

# The programs raise interrupts while they run; a foreign VMM's guest is stopped for that.
_PLACES = [each for each in BACKENDS if each.usable() and each.name not in ("minimal", "foreign")]


def _seeds() -> Iterator[ParameterSet]:
    for backend in _PLACES:
        few = FIXED if backend.name == "fake" else FIXED[:FEW]
        for seed in [*few, *FOUND]:
            name = f"{backend.name}-{seed}"
            yield pytest.param(backend, seed, marks=backend.marks, id=name)


@pytest.mark.parametrize(("on", "seed"), list(_seeds()))
def test_a_random_program_ends_as_undebugged(on: Backend, seed: int) -> None:
    check(fitting(draw(seed), on), on)


def test_a_seed_makes_the_same_case_each_time() -> None:
    assert all(draw(seed) == draw(seed) for seed in FIXED)


def test_the_fixed_seeds_have_all_that_matters() -> None:
    cases = [fitting(draw(seed), BACKENDS[0]) for seed in FIXED]
    assert any(g.kind == "raises" for c in cases for body in c.program.bodies for g in groups(body))
    assert {len(case.program.bodies) for case in cases} == {1, 2, 3}
    assert {request.kind for case in cases for request in case.requests} == set(range(5))


@pytest.mark.parametrize("on", [pytest.param(e, marks=e.marks, id=e.name) for e in _PLACES])
def test_an_interrupt_that_is_raised_is_taken(on: Backend) -> None:
    """Undebugged, and no more than one for each."""
    raised = words.store(LINE, LINE, 0, 4), words.mask("daifclr", 2), words.mask("daifset", 2)
    body = Group(1, raised * 3, "raises")
    machine = load(on, Program(((body,),), ((0,) * 16,), (b"",)))
    try:
        run_undebugged(machine)
        assert unseen(machine, 0, INTERRUPTS) == 3
    finally:
        machine.close()
