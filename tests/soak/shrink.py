"""Making a case that fails smaller: fewer requests, then fewer instructions, and it still fails."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from tests.soak.case import Case, smaller
from tests.soak.known import with_body
from tests.soak.program import Group, Loop, Node

#: So often is it tried.
_TRIES: Final = 400


def shrink(case: Case, fails: Callable[[Case], bool]) -> Case:
    """The smallest case found for which *fails* holds, as it does for *case*."""
    tries = 0
    smaller_exists = True
    while smaller_exists:
        smaller_exists = False
        for candidate in _candidates(case):
            tries += 1
            if tries > _TRIES:
                return case
            if fails(candidate):
                case, smaller_exists = candidate, True
                break
    return case


def _candidates(case: Case) -> Iterator[Case]:
    for index in range(len(case.requests)):
        left = case.requests[:index] + case.requests[index + 1 :]
        yield replace(case, requests=left)
    for vcpu, body in enumerate(case.program.bodies):
        for fewer in _fewer(body):
            yield smaller(case, case.program.with_body(vcpu, fewer))


def _fewer(nodes: tuple[Node, ...]) -> Iterator[tuple[Node, ...]]:
    """Halves and smaller runs of *nodes* left out, then the same within each."""
    size = len(nodes)
    while size:
        for start in range(0, len(nodes), size):
            yield nodes[:start] + nodes[start + size :]
        size //= 2
    for index, node in enumerate(nodes):
        before, behind = nodes[:index], nodes[index + 1 :]
        if isinstance(node, Group):
            continue
        yield before + node.body + behind
        if isinstance(node, Loop) and node.count > 1:
            yield (*before, replace(node, count=node.count // 2), *behind)
        for body in _fewer(node.body):
            yield (*before, with_body(node, body), *behind)
