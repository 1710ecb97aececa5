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
    #: Pairs of an exception vector that has a comparator, and the request that returns lead from.
    vectors: tuple[tuple[int, int], ...] = ()
    #: True if a request has a comparator that a BRK could serve as well.
    preferred: bool = False


EMPTY: Final = Placement({}, ())
#: The end of the reason why nothing serves a request.
NOT_SERVED: Final = "and no comparator is free"


class _Comparators:
    """Breakpoint comparators to share out: *slots*, of which those at *taken* are in use."""

    def __init__(self, slots: int, taken: Set[int]) -> None:
        self._free = slots - len(taken)
        self._taken = taken
        #: Canonical addresses of those that were shared out.
        self.addresses: list[int] = []

    def get(self, gva: int) -> bool:
        """Share one out for *gva*, unless it has one; return False if none is free."""
        at = canonical(gva)
        if at not in self.addresses and at not in self._taken:
            if len(self.addresses) >= self._free:
                return False
            self.addresses.append(at)
        return True


def place(
    requests: Sequence[BreakpointRequest],
    locations: Mapping[int, Sequence[Location]],
    slots: int,
    preference: Preference,
    taken: Set[int] = frozenset(),
) -> Placement:
    """Share *slots* comparators out among *requests*, whose *locations* are known by address.

    The canonical addresses in *taken* have a comparator already, which serves a request, too.

    Requests that a BRK cannot serve come first, in the order in which they were made, and returns
    that must be met; then those that a comparator serves better; the rest get BRKs.
    """
    served: dict[int, Served] = {}
    comparators = _Comparators(slots, taken)
    rest: list[tuple[int, BreakpointRequest]] = []
    for number, request in enumerate(requests):
        if request.returns and request.vector is not None:
            comparators.get(request.vector)
        if why := obstacle(request, locations[request.gva]):
            served[request.gva] = _without_brk(request, why, comparators)
        else:
            rest.append((number, request))
    preferred = False
    for _, request in sorted(rest, key=lambda each: (_urgency(each[1], locations), each[0])):
        found = locations[request.gva]
        # Who returns there cannot execute there: the place may be data.
        why = "returned to" if request.returns else _better(found, preference)
        if why and comparators.get(request.gva):
            served[request.gva] = Served(Service.COMPARATOR, why)
            preferred = True
        else:
            ipas = frozenset(location.ipa for location in found if location.ipa is not None)
            served[request.gva] = Served(Service.BRK, why and f"{why}, no comparator free", ipas)
    vectors = [
        (request.vector, request.gva)
        for request in requests
        if request.vector is not None and served[request.gva].service is not Service.NONE
        if comparators.get(request.vector)
    ]
    return Placement(served, tuple(comparators.addresses), tuple(vectors), preferred)


def _without_brk(request: BreakpointRequest, why: str, comparators: _Comparators) -> Served:
    """Serve a request that a BRK cannot serve, for the reason *why*."""
    at_vector = request.vector is not None and not request.executable
    at = request.vector if at_vector and request.vector is not None else request.gva
    if not comparators.get(at):
        return Served(Service.NONE, f"{why}, {NOT_SERVED}")
    return Served(Service.VECTOR if at_vector else Service.COMPARATOR, why)


def needs_comparator(request: BreakpointRequest, found: Sequence[Location]) -> bool:
    """Return True if BRKs alone cannot serve *request*."""
    return request.returns or bool(obstacle(request, found))


def obstacle(request: BreakpointRequest, found: Sequence[Location]) -> str:
    """Say why a BRK cannot serve *request*; empty if it can."""
    if request.vector is not None and not request.executable:
        return "returned to, and not executable"
    if not found:
        return "not mapped"
    return next((location.obstacle for location in found if location.obstacle), "")


_RANKS: Final = ("patch site", "low half", "writable page", "")


def _reasons(found: Iterable[Location]) -> Iterator[str]:
    for location in found:
        if location.patch_site:
            yield "patch site"
        if location.debugs_itself:
            continue  # a comparator of ours would hide those of the guest
        if location.lower_half:
            yield "low half"
        if location.permissions.writes:
            yield "writable page"
    yield ""


def _urgency(request: BreakpointRequest, locations: Mapping[int, Sequence[Location]]) -> int:
    return -1 if request.returns else _rank(locations[request.gva])


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
