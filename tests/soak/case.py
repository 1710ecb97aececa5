"""A random case: a program, what a debugger asks for in it, and what goes on of its own.

``draw(seed)`` makes one. A case is a value; ``without`` and the shrinker make smaller ones of it.
"""

from dataclasses import dataclass, replace
from random import Random
from typing import Final, NamedTuple

from gdbstub.agent import Clauses
from gdbstub.target import BreakpointKind
from tests.soak import words
from tests.soak.blocks import CLASSES, EXCLUSIVE
from tests.soak.drawing import Draw
from tests.soak.program import (
    DATA_BASE,
    HANDLERS,
    INTERRUPT_PLACES,
    LOOP_COUNTERS,
    Group,
    Loop,
    Node,
    Place,
    Program,
    Skip,
    data_of,
    groups,
)

PRINTED: Final = b"hi\n"
_STOPS: Final = Clauses()
_PRINTS: Final = Clauses.compile([], [bytes.fromhex("220022003400000568695c6e0027")])
#: Conditions that never hold, as agent bytecode.
_NEVER: Final = tuple(
    Clauses.compile([bytes.fromhex(code)])
    for code in (
        "220027",  # 0
        "26000328130e27",  # not (x3 == x3), which dup pushes twice
        "2600101a22000f27",  # memory at x16, and 0
        "26000722001527",  # x7 < 0, unsigned
        "26001f22010f22021327",  # (sp & 1) == 2
    )
)


class Request(NamedTuple):
    """A breakpoint at a place, or a watchpoint on ``length`` bytes at ``gva``."""

    kind: BreakpointKind
    place: Place | None = None
    clauses: Clauses = _STOPS
    gva: int = 0
    length: int = 4

    @property
    def stops(self) -> bool:
        """True if each hit is reported to the client."""
        return not self.clauses.conditions and not self.clauses.commands

    @property
    def prints(self) -> bool:
        """True if each hit prints."""
        return bool(self.clauses.commands)


@dataclass(frozen=True, slots=True)
class Case:
    """``seed`` names it, and also makes the choices of whoever drives it."""

    seed: int
    program: Program
    requests: tuple[Request, ...]


_SOFT, _HARD = BreakpointKind.SOFTWARE, BreakpointKind.HARDWARE
#: Comparators are left for what the debugger needs itself.
_MOST_HARDWARE: Final = 3
#: Number of instructions to execute in all, about; loops are made shorter for it.
_BUDGET: Final = 260
_EXCEPTIONS: Final = frozenset({"exceptions", "other_stack", "raises", "waits"})
_INTERRUPTS: Final = frozenset({"raises", "waits"})


class _Generator:
    def __init__(self, random: Random, refused: frozenset[str]) -> None:
        self._random = random
        self._draw = Draw(random)
        self._refused = refused
        self._number = 0

    def _next(self) -> int:
        self._number += 1
        return self._number

    def nodes(self, budget: int, depth: int = 0) -> tuple[Node, ...]:
        """About so many executed instructions."""
        random, made = self._random, list[Node]()
        while budget > 0:
            kind = random.random()
            if kind < 0.15 and depth < len(LOOP_COUNTERS) and budget > 12:
                count = random.randint(1, 4)
                inner = random.randint(3, max(4, budget // count))
                number = self._next()
                body = self.nodes(min(inner, 40), depth + 1)
                made.append(Loop(number, LOOP_COUNTERS[depth], count, body))
                budget -= count * (min(inner, 40) + 2) + 1
            elif kind < 0.25 and depth < 4 and budget > 4:
                number, inner = self._next(), random.randint(1, 8)
                made.append(Skip(number, self._branch(), self.nodes(inner, max(depth, 3))))
                budget -= inner
            else:
                group = self._group()
                if group.kind not in self._refused:
                    made.append(group)
                budget -= len(group.lines)
        return tuple(made)

    def _group(self) -> Group:
        weights = [weight for weight, _ in CLASSES]
        ((_, make),) = self._random.choices(CLASSES, weights)
        made = make(self._draw)
        return Group(self._next(), made.lines, make.__name__, made.exclusive, made.patched)

    def _branch(self) -> words.Line:
        random, register = self._random, self._draw.x()
        match random.randrange(3):
            case 0:
                return words.b_if(random.randrange(len(words.CONDITIONS)), 8)
            case 1:
                return words.cb(random.choice(("cbz", "cbnz")), register, 8, random.random() < 0.5)
        return words.tb(random.choice(("tbz", "tbnz")), register, random.randrange(64), 8)


def draw(seed: int) -> Case:
    """The case of a seed, with everything that is known to fail."""
    random = Random(seed)
    vcpus = random.choice((1, 1, 1, 2, 3))
    in_text = random.random() < 0.1
    refused = _EXCEPTIONS if in_text else _INTERRUPTS if random.random() < 0.5 else frozenset()
    generator = _Generator(random, frozenset(refused))
    program = Program(
        tuple(generator.nodes(_BUDGET // vcpus) for _ in range(vcpus)),
        tuple(tuple(_register(random) for _ in range(16)) for _ in range(vcpus)),
        tuple(random.randbytes(512) for _ in range(vcpus)),
        in_text,
    )
    return Case(seed, program, tuple(_requests(random, program)))


def _register(random: Random) -> int:
    return random.choice((0, 1, (1 << 64) - 1, random.getrandbits(64), random.getrandbits(8)))


def _requests(random: Random, program: Program) -> list[Request]:
    """Breakpoints, and perhaps watchpoints: spread, crowded, or where it is delicate."""
    watches = _watches(random, len(program.bodies))
    exclusive, patched, repairs = _special(program)
    # How often these are executed depends on how the program is run.
    uncounted = {*exclusive, *patched, *repairs, *INTERRUPT_PLACES}
    places = [
        place
        for place in program.addresses
        if place.node >= 0 or (not program.vectors_in_text and place.node == HANDLERS)
    ]
    delicate = [place for place in places if place in exclusive or place in patched]
    delicate += [p for p in places if any(_near(program, p, watch) for watch in watches)] * 3
    crowded = random.random() < 0.3
    first = random.randrange(len(places))
    requests: dict[tuple[BreakpointKind, Place], Request] = {}

    def ask(kind: BreakpointKind, place: Place, clauses: Clauses) -> None:
        if place in uncounted:
            clauses = random.choice(_NEVER)
        requests[kind, place] = Request(kind, place, clauses)

    for _ in range(random.randint(0, 8)):
        kind = random.choice((_SOFT, _SOFT, _HARD))
        if kind is _HARD and sum(k is _HARD for k, _ in requests) == _MOST_HARDWARE:
            continue
        if delicate and random.random() < 0.3:
            place = random.choice(delicate)
        elif crowded:
            place = places[(first + random.randrange(8)) % len(places)]
        else:
            place = random.choice(places)
        ask(kind, place, random.choice((*_NEVER, _PRINTS, _STOPS)))
        if kind is _HARD and random.random() < 0.15:
            ask(_SOFT, place, random.choice((_STOPS, _NEVER[0])))
    return [*requests.values(), *watches]


def _watches(random: Random, vcpus: int) -> list[Request]:
    kinds = (BreakpointKind.WRITE, BreakpointKind.READ, BreakpointKind.ACCESS)
    watches = []
    for _ in range(random.choice((0, 0, 1, 2))):
        kind, length = random.choice(kinds), random.choice((1, 2, 3, 4, 8))
        offset = random.randrange(0x80)
        if kind is BreakpointKind.WRITE and random.random() < 0.3:
            offset = EXCLUSIVE + offset // 2  # a word that is locked
        gva = data_of(random.randrange(vcpus)) + offset
        watches.append(Request(kind, gva=gva, length=length))
    return watches


def _near(program: Program, place: Place, watch: Request) -> bool:
    """Return True if the line at *place* accesses the doubleword of *watch* by a fixed offset."""
    access = program.lines[program.addresses[place]].line.access
    if access is None or access.base != DATA_BASE:
        return False
    return (data_of(place.vcpu) + access.offset) // 8 == watch.gva // 8


def _special(program: Program) -> tuple[set[Place], set[Place], set[Place]]:
    """Places in exclusive sequences or just behind, patched ones, and what a failure leads to."""
    exclusive, patched, repairs = set[Place](), set[Place](), set[Place]()
    for vcpu, body in enumerate(program.bodies):
        for group in groups(body):
            at = program.addresses[Place(vcpu, group.number, 0)]
            exclusive |= {program.lines[at + 4 * n].place for n in group.exclusive}
            if group.patched is not None:
                patched.add(Place(vcpu, group.number, group.patched))
            if group.kind == "exclusive_once":
                repairs |= {Place(vcpu, group.number, n) for n in range(len(group.lines))}
    return exclusive, patched, repairs


def smaller(case: Case, program: Program) -> Case:
    """The case with another program, less the requests that it has no place for."""
    left = (r for r in case.requests if r.place is None or r.place in program.addresses)
    return replace(case, program=program, requests=tuple(left))
