"""Placement of software breakpoints: a BRK, a comparator or nothing, decided anew at each resume.

A BRK is in RAM only where three things hold at that resume: the address translates to that place
in the address space that it was asked for in, the place may be executed, and nothing better is
free where the guest checks or rewrites its text. Everything else is a comparator. The module
writes nothing: ``Breakpoints`` does.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from enum import Enum
from typing import Final, NamedTuple

from gdbstub.aarch64.comparators import canonical
from gdbstub.debug.locations import BreakpointRequest, Location


class Preference(Enum):
    """Choice for software breakpoints that both a BRK and a comparator could serve."""

    AUTO = "auto"
    SOFTWARE = "software"
    HARDWARE = "hardware"


class Service(Enum):
    """Means that serves a software breakpoint."""

    BRK = "BRK in RAM"
    COMPARATOR = "comparator"
    VECTOR = "comparator at the exception vector"
    NONE = "nothing"


class Served(NamedTuple):
    """Service of one request, and the reason in a few words; ``ipas`` are those of its BRKs."""

    service: Service
    why: str
    ipas: frozenset[int] = frozenset()


class Placement(NamedTuple):
    """Service of all requests, by address; ``comparators`` are the addresses that have one."""

    served: dict[int, Served]
    comparators: tuple[int, ...]


EMPTY: Final = Placement({}, ())


def place(
    requests: Sequence[BreakpointRequest],
    locations: Mapping[int, Sequence[Location]],
    slots: int,
    preference: Preference,
    taken: Set[int] = frozenset(),
) -> Placement:
    """Share *slots* comparators out among *requests*, whose *locations* are known by address.

    The canonical addresses in *taken* have a comparator already, which serves a request, too.

    Requests that a BRK cannot serve come first, in the order in which they were made; then those
    that a comparator serves better; the rest get BRKs.
    """
    served: dict[int, Served] = {}
    comparators: list[int] = []

    def compare(gva: int, why: str, vector: int | None = None) -> bool:
        at = gva if vector is None else vector
        if at not in comparators and canonical(at) not in taken:
            if len(comparators) + len(taken) >= slots:
                return False
            comparators.append(at)
        served[gva] = Served(Service.COMPARATOR if vector is None else Service.VECTOR, why)
        return True

    rest: list[tuple[int, BreakpointRequest]] = []
    for number, request in enumerate(requests):
        if why := obstacle(request, locations[request.gva]):
            if not compare(request.gva, why, request.vector):
                served[request.gva] = Served(Service.NONE, f"{why}, and no comparator is free")
        else:
            rest.append((number, request))
    for _, request in sorted(rest, key=lambda each: (_rank(locations[each[1].gva]), each[0])):
        found = locations[request.gva]
        why = _better(found, preference)
        if not (why and compare(request.gva, why)):
            ipas = frozenset(location.ipa for location in found if location.ipa is not None)
            served[request.gva] = Served(Service.BRK, why and f"{why}, no comparator free", ipas)
    return Placement(served, tuple(comparators))


def obstacle(request: BreakpointRequest, found: Sequence[Location]) -> str:
    """Say why a BRK cannot serve *request*; empty if it can."""
    if request.vector is not None:
        return "returned to, and not executable"
    if not found:
        return "not mapped"
    return next((location.obstacle for location in found if location.obstacle), "")


_RANKS: Final = ("patch site", "low half", "writable page", "")


def _reasons(found: Iterable[Location]) -> Iterator[str]:
    for location in found:
        if location.patch_site:
            yield "patch site"
        if location.low:
            yield "low half"
        if location.permissions.writes:
            yield "writable page"
    yield ""


def _rank(found: Sequence[Location]) -> int:
    return min(map(_RANKS.index, _reasons(found)))


def _better(found: Sequence[Location], preference: Preference) -> str:
    """Say why a comparator serves better; empty if it does not."""
    match preference:
        case Preference.SOFTWARE:
            return ""
        case Preference.HARDWARE:
            return "preferred"
        case Preference.AUTO:
            return _RANKS[_rank(found)]
