"""Placement: which software breakpoints get BRKs, which comparators, in which order."""

from hypothesis import given
from hypothesis import strategies as st

from gdbstub.aarch64.permissions import Permissions
from gdbstub.debug.locations import BreakpointRequest, Location
from gdbstub.debug.placement import Placement, Preference, Service, place

TEXT = Permissions(True, False, False, False)
WRITABLE = Permissions(True, False, True, False)
AUTO = Preference.AUTO


PLAIN = Location(None, 0x4000_0000, TEXT)
PATCH = Location(None, 0x4000_1000, TEXT, patch_site=True)
LOW = Location(None, 0x4000_2000, TEXT, lower_half=True)
WRITTEN = Location(None, 0x4000_3000, WRITABLE)
DATA = Location(None, 0x4000_4000, TEXT, obstacle="not executable")
NOWHERE: list[Location] = []


def placed(
    free: int, *found: list[Location], preference: Preference = AUTO, **changes: object
) -> list[Service]:
    placement = plan(free, *found, preference=preference)
    return [placement.served[number].service for number in range(len(found))]


def plan(free: int, *found: list[Location], preference: Preference = AUTO) -> Placement:
    requests = [BreakpointRequest(number, 0) for number in range(len(found))]
    return place(requests, dict(enumerate(found)), free, preference)


BRK, COMPARATOR, NONE = Service.BRK, Service.COMPARATOR, Service.NONE


def test_those_that_need_one_come_before_those_that_are_better_served() -> None:
    found = [PATCH], [WRITTEN], [PLAIN], [LOW], NOWHERE, [DATA]
    assert placed(6, *found) == [COMPARATOR, COMPARATOR, BRK, COMPARATOR, COMPARATOR, COMPARATOR]
    assert placed(4, *found) == [COMPARATOR, BRK, BRK, COMPARATOR, COMPARATOR, COMPARATOR]
    assert placed(3, *found) == [COMPARATOR, BRK, BRK, BRK, COMPARATOR, COMPARATOR]
    assert placed(2, *found) == [BRK, BRK, BRK, BRK, COMPARATOR, COMPARATOR]
    assert placed(1, *found) == [BRK, BRK, BRK, BRK, COMPARATOR, NONE]
    assert placed(0, *found) == [BRK, BRK, BRK, BRK, NONE, NONE]


def test_what_a_person_prefers() -> None:
    found = [PATCH], [PLAIN], NOWHERE
    assert placed(6, *found, preference=Preference.SOFTWARE) == [BRK, BRK, COMPARATOR]
    assert placed(6, *found, preference=Preference.HARDWARE) == [COMPARATOR] * 3
    assert placed(2, *found, preference=Preference.HARDWARE) == [COMPARATOR, BRK, COMPARATOR]


def test_one_obstacle_among_several_places_is_enough() -> None:
    assert placed(6, [PLAIN, DATA]) == [COMPARATOR]
    served = plan(6, [PLAIN, PLAIN._replace(ipa=0x5000_0000)]).served[0]
    assert served.ipas == {0x4000_0000, 0x5000_0000}


def test_the_reason_is_said() -> None:
    placement = plan(1, [DATA], [LOW], [])
    assert [placement.served[number].why for number in range(3)] == [
        "not executable",
        "low half, no comparator free",
        "not mapped, and no comparator is free",
    ]


def test_a_return_to_where_nothing_executes_is_met_at_the_vector() -> None:
    requests = [BreakpointRequest(0x8000, 0, vector=0x200), BreakpointRequest(0x200, 0)]
    placement = place(requests, {0x8000: [DATA], 0x200: [PATCH]}, 1, AUTO)
    assert placement.comparators == (0x200,)
    assert placement.served[0x8000].service is Service.VECTOR
    assert placement.served[0x200].service is COMPARATOR


@given(
    st.lists(st.lists(st.sampled_from([PLAIN, PATCH, LOW, WRITTEN, DATA]), max_size=2), max_size=9),
    st.integers(0, 6),
    st.sampled_from(Preference),
)
def test_every_request_is_served_at_once_and_no_brk_is_where_none_may_be(
    found: list[list[Location]], free: int, preference: Preference
) -> None:
    placement = plan(free, *found, preference=preference)
    assert len(placement.comparators) <= free
    assert placement.served.keys() == set(range(len(found)))
    for number, locations in enumerate(found):
        served = placement.served[number]
        if served.service is BRK:
            assert locations
            assert not any(location.obstacle for location in locations)
            assert served.ipas == {location.ipa for location in locations}
        else:
            assert (number in placement.comparators) == (served.service is COMPARATOR)
            assert not served.ipas


def test_an_address_that_has_a_comparator_takes_no_other() -> None:
    requests = [BreakpointRequest(0x1000, 0), BreakpointRequest(0x2000, 0)]
    placement = place(requests, {0x1000: [PATCH], 0x2000: [PATCH]}, 1, AUTO, {0x2000})
    assert placement.comparators == ()
    assert [placement.served[gva].service for gva in (0x1000, 0x2000)] == [BRK, COMPARATOR]


def test_a_return_to_where_only_another_level_executes_puts_no_brk_there_unless_it_must() -> None:
    """A client's preference for BRKs does not count: the place may be data of that level."""
    call = BreakpointRequest(0x8000, 0, vector=0x200)
    call.executable = call.returns = True
    found = {0x8000: [PLAIN], 0x9000: [PATCH]}
    requests = [BreakpointRequest(0x9000, 0), call]
    for preference in Preference:
        placement = place(requests, found, 2, preference)
        assert placement.served[0x8000].service is COMPARATOR
        assert placement.comparators == (0x200, 0x8000)
        assert placement.vectors == ((0x200, 0x8000),)
    placement = place(requests, found, 1, AUTO)
    assert placement.served[0x8000].service is BRK
    assert placement.vectors == ((0x200, 0x8000),)


def test_a_return_that_need_not_be_met_takes_no_comparator_from_others() -> None:
    """A process has a breakpoint where its system call returns to."""
    request = BreakpointRequest(0x8000, 0, vector=0x200)
    request.executable = True
    requests = [request, BreakpointRequest(0x9000, 0)]
    found = {0x8000: [PLAIN], 0x9000: [PATCH]}
    placement = place(requests, found, 1, AUTO)
    assert [placement.served[gva].service for gva in found] == [BRK, COMPARATOR]
    assert placement.vectors == ()
    assert place(requests, found, 2, AUTO).vectors == ((0x200, 0x8000),)
