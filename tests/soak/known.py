"""Known faults of the debugger, which are left out of cases until they are mended.

``KNOWN`` has a line for each kind, with the fault's row in the list of faults. To enable one
again, delete its line; its seeds in ``seeds.py`` are run already, without it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from gdbstub.target import BreakpointKind
from tests.soak.blocks import EXCLUSIVE
from tests.soak.case import Case, Request, smaller
from tests.soak.program import Group, Node, Place, Program, groups

#: A range ends behind a breakpoint in it whose condition was false.
RANGE_ENDS_EARLY: Final = "range-ends-behind-a-false-condition"
#: So does a step in an exclusive sequence with one in it or behind it, but anywhere.
STEP_IN_SEQUENCE: Final = "step-from-a-false-condition-in-a-sequence"

KNOWN: Final[Mapping[str, str]] = {}


def without(case: Case, kinds: Iterable[str]) -> Case:
    """The case without the instructions and requests of these kinds."""
    for kind in kinds:
        case = _LEFT_OUT[kind](case)
    return case


def _no_such_groups(*kinds: str) -> Callable[[Case], Case]:
    def drop(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        return tuple(
            node if isinstance(node, Group) else with_body(node, drop(node.body))
            for node in nodes
            if not (isinstance(node, Group) and node.kind in kinds)
        )

    def left_out(case: Case) -> Case:
        program = case.program
        for vcpu, body in enumerate(program.bodies):
            program = program.with_body(vcpu, drop(body))
        return smaller(case, program)

    return left_out


def with_body(node: Node, body: tuple[Node, ...]) -> Node:
    """A loop or a skip with another body."""
    assert not isinstance(node, Group)
    return replace(node, body=body)


def _no_vectors_in_text(case: Case) -> Case:
    return smaller(case, replace(case.program, vectors_in_text=False))


def _keep(case: Case, wanted: Callable[[Request], bool]) -> Case:
    return replace(case, requests=tuple(filter(wanted, case.requests)))


def _no_break_on_watched(case: Case) -> Case:
    """No breakpoint on an access, where there are watchpoints."""
    if all(request.place for request in case.requests):
        return case
    lines = case.program.lines
    addresses = case.program.addresses
    return _keep(case, lambda r: not r.place or not lines[addresses[r.place]].line.access)


def _not_on_exclusives(request: Request) -> bool:
    """Return False if the request is a watchpoint on the data of exclusive accesses."""
    return bool(request.place) or request.gva & 0x1FF < EXCLUSIVE - 8


def _one_kind(case: Case) -> Case:
    hardware = {r.place for r in case.requests if r.kind is BreakpointKind.HARDWARE}
    soft = BreakpointKind.SOFTWARE
    return _keep(case, lambda r: r.kind is not soft or r.place not in hardware)


def sequences(program: Program) -> Mapping[Place, tuple[int, int]]:
    """Every place of an exclusive sequence, and behind one, with the sequence's vCPU and node."""
    found: dict[Place, tuple[int, int]] = {}
    for vcpu, body in enumerate(program.bodies):
        for group in groups(body):
            first = program.addresses[Place(vcpu, group.number, 0)]
            for number in group.exclusive:
                place = program.lines[first + 4 * number].place
                found[place] = vcpu, group.number
    return found


def _one_in_a_sequence(case: Case) -> Case:
    of, seen = sequences(case.program), set[tuple[int, int]]()

    def first(request: Request) -> bool:
        sequence = of.get(request.place) if request.place else None
        if sequence is None:
            return True
        if sequence in seen:
            return False
        seen.add(sequence)
        return True

    return _keep(case, first)


def _not_in_patched_sequence(case: Case) -> Case:
    of = sequences(case.program)
    patched = {
        (vcpu, group.number)
        for vcpu, body in enumerate(case.program.bodies)
        for group in groups(body)
        if group.patched is not None
    }
    return _keep(case, lambda r: not r.place or of.get(r.place) not in patched)


_LEFT_OUT: Final[Mapping[str, Callable[[Case], Case]]] = {
    "atomics": _no_such_groups("atomics"),
    "breakpoint-on-watched-access": _no_break_on_watched,
    "two-kinds-at-one-address": _one_kind,
    "two-breakpoints-in-one-sequence": _one_in_a_sequence,
    "store-exclusive-without-retry": _no_such_groups("exclusive_once", "store_alone"),
    "watch-on-store-exclusive": lambda case: _keep(case, _not_on_exclusives),
    "breakpoint-in-patched-sequence": _not_in_patched_sequence,
    "vectors-in-text": _no_vectors_in_text,
    RANGE_ENDS_EARLY: lambda case: case,
    STEP_IN_SEQUENCE: lambda case: case,
}
