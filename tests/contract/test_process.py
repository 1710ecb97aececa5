"""Breakpoints of one process: hits in another one are stepped over."""

from gdbstub.aarch64.registers import TTBR0_EL1, X
from gdbstub.debug.placement import Preference
from gdbstub.machine import Vcpu
from gdbstub.target import BreakpointKind, Stopped, StopReason
from tests.contract.backends import Factory
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.programs import COUNT, at
from tests.contract.spaces import ROUND, USER_GVA, Spaces

PLACE = at(0)


class From:
    """A process that the vCPU is in from a count in x0 on."""

    def __init__(self, count: int) -> None:
        self.count = count

    def matches(self, vcpu: Vcpu) -> bool:
        return vcpu.get(X[0]) >= self.count


def test_hits_in_another_process_are_stepped_over(start: Start) -> None:
    client = Client(start(COUNT).machine)
    for kind in (BreakpointKind.SOFTWARE, BreakpointKind.HARDWARE):
        client.target.process = From(client.x(1, 0) + 3)
        client.target.insert(1, kind, PLACE, 4)
        stop = client.go()
        assert isinstance(stop, Stopped)
        assert stop.stop in (StopReason.SWBREAK, StopReason.HWBREAK)
        assert client.x(1, 0) == client.target.process.count
        client.target.process = None
        client.step_over(1, kind, PLACE, 4)
        assert client.go().stop is stop.stop
        assert client.pc(1) == PLACE
        client.step_over(1, kind, PLACE, 4)
        client.target.remove(1, kind, PLACE, 4)


class Tables:
    """The process that has these tables."""

    def __init__(self, table: int) -> None:
        self.table = table

    def matches(self, vcpu: Vcpu) -> bool:
        return vcpu.get(TTBR0_EL1) & (1 << 48) - 2 == self.table


def test_a_chosen_process_has_the_breakpoints_that_were_set_in_another(
    machine_factory: Factory,
) -> None:
    spaces = Spaces(machine_factory(ROUND.image), Preference.AUTO)
    place = USER_GVA + 8
    spaces.enter(USER_GVA, spaces.a)
    spaces.insert(place)
    spaces.stops_at(place)
    spaces.debugger.process = Tables(spaces.b.ttbr)
    # As GDB does it at each stop.
    spaces.remove(place)
    spaces.insert(place)
    spaces.enter(USER_GVA, spaces.b)
    spaces.stops_at(place)
    spaces.debugger.process = None
    spaces.enter(USER_GVA, spaces.a)
    spaces.stops_at(place)
