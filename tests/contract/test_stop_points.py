"""Stop points: places at which the stub itself stops a guest, whatever a client requests."""

from collections.abc import Collection  # noqa: TC003 - of an attribute

from gdbstub.target import BreakpointKind, Signal, Stopped, StopReason
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.programs import COUNT, at
from tests.contract.run_control import NEVER, SAYS_HI

PLACE = at(0)
SOFTWARE = BreakpointKind.SOFTWARE


class Points:
    """One place."""

    def __init__(self) -> None:
        self.addresses: Collection[int] = (PLACE,)

    def stop_at(self, vcpu: int, gva: int) -> Stopped:
        return Stopped(vcpu + 1, Signal.ABRT, text=f"vCPU {vcpu} is at {gva:#x}")


def _client(start: Start) -> Client:
    client = Client(start(COUNT).machine)
    client.target.stop_points.append(Points())
    return client


STOP = Stopped(1, Signal.ABRT, text=f"vCPU 0 is at {PLACE:#x}")


def test_each_arrival_is_a_stop_of_no_breakpoint(start: Start) -> None:
    client = _client(start)
    for count in range(3):
        assert client.go() == STOP
        assert (client.pc(1), client.x(1, 0)) == (PLACE, count)


def test_it_stays_when_a_client_leaves(start: Start) -> None:
    client = _client(start)
    assert client.go() == STOP
    client.target.release()
    assert client.go() == STOP
    assert client.x(1, 0) == 1


def test_a_breakpoint_of_the_client_s_there_is_reported_as_one(start: Start) -> None:
    client = _client(start)
    client.target.insert(1, SOFTWARE, PLACE, 4)
    stop = client.go()
    assert (stop.stop, stop.text) == (StopReason.SWBREAK, STOP.text)
    client.step_over(1, SOFTWARE, PLACE, 4)
    client.target.remove(1, SOFTWARE, PLACE, 4)
    assert client.go() == STOP


def test_a_place_that_nothing_can_execute_at_is_left_out(start: Start) -> None:
    client = _client(start)
    (points,) = client.target.stop_points
    assert isinstance(points, Points)
    points.addresses = (PLACE, 3)
    assert client.go() == STOP


class Libraries(Points):
    """A place whose stops are of libraries."""

    def stop_at(self, vcpu: int, gva: int) -> Stopped:
        return Stopped(vcpu + 1, stop=StopReason.LIBRARY)


def test_a_breakpoint_of_the_client_s_where_libraries_change_is_hit_once(start: Start) -> None:
    client = Client(start(COUNT).machine)
    client.target.stop_points.append(Libraries())
    client.target.insert(1, SOFTWARE, PLACE, 4)
    for count in range(2):
        # A client goes on by itself from the first, and without a step.
        assert client.go() == Stopped(1, stop=StopReason.LIBRARY)
        assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
        assert client.x(1, 0) == count
        client.step_over(1, SOFTWARE, PLACE, 4)


def test_a_place_that_is_none_any_more_is_left(start: Start) -> None:
    client = Client(start(COUNT).machine)
    points = Points()
    client.target.stop_points.append(points)
    assert client.go() == STOP
    points.addresses = (at(1),)
    assert client.go() == Stopped(1, Signal.ABRT, text=f"vCPU 0 is at {at(1):#x}")


# A client's own breakpoint there does not hide it.


def test_a_condition_of_the_client_s_that_is_false_does_not_hide_it(start: Start) -> None:
    client = _client(start)
    client.target.insert(1, SOFTWARE, PLACE, 4)
    client.target.attach(SOFTWARE, PLACE, NEVER)
    for count in range(3):
        assert client.go() == STOP
        assert (client.pc(1), client.x(1, 0)) == (PLACE, count)


def test_a_hardware_breakpoint_that_is_removed_leaves_the_client_s_other_one(start: Start) -> None:
    client = _client(start)
    points = client.target.stop_points
    client.target.insert(1, SOFTWARE, PLACE, 4)
    client.target.insert(1, BreakpointKind.HARDWARE, PLACE, 4)
    assert client.go().text == STOP.text
    client.target.remove(1, BreakpointKind.HARDWARE, PLACE, 4)
    points.clear()
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)
    assert client.go() == Stopped(1, stop=StopReason.SWBREAK)


def test_commands_of_the_client_s_print_once_and_do_not_hide_it(start: Start) -> None:
    client = _client(start)
    client.target.insert(1, SOFTWARE, PLACE, 4)
    client.target.attach(SOFTWARE, PLACE, SAYS_HI)
    for count in range(3):
        assert client.go() == STOP
        assert client.x(1, 0) == count
        assert client.target.take_output() == b"hi\n"
