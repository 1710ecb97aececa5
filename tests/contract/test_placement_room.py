"""Comparators of breakpoints whose pages come and go, or can only be read."""

import pytest

from gdbstub.debug.placement import Preference, Service
from gdbstub.errors import NoSlot
from gdbstub.target import BreakpointKind, Stopped, StopReason
from tests.contract.backends import Factory
from tests.contract.client import Client
from tests.contract.conftest import Start
from tests.contract.programs import BASE, STRAIGHT, at
from tests.contract.spaces import KERNEL_GVA, OTHER, ROUND
from tests.contract.test_placement import Kernel


def test_what_nothing_serves_keeps_no_comparator_from_others(machine_factory: Factory) -> None:
    """Pages with breakpoints are unmapped: one breakpoint more than there are comparators."""
    kernel = Kernel(machine_factory(ROUND.image), Preference.SOFTWARE)
    slots = kernel.machine.breakpoint_slots
    places = [KERNEL_GVA + 0x10000 + 0x1000 * number for number in range(slots + 1)]
    for place in places:
        kernel.map(place, OTHER)
        kernel.spaces.insert(place)
    kernel.spaces.step()
    for place in places:
        kernel.unmap(place)
    kernel.spaces.step()
    served = [kernel.debugger.breakpoints.served(place).service for place in places]
    assert served == [Service.COMPARATOR] * slots + [Service.NONE]
    kernel.spaces.remove(places[0])
    kernel.debugger.insert(1, BreakpointKind.HARDWARE, KERNEL_GVA + 8, 4)
    with pytest.raises(NoSlot):
        kernel.debugger.insert(1, BreakpointKind.HARDWARE, KERNEL_GVA + 12, 4)
    assert kernel.spaces.go() == Stopped(1, stop=StopReason.HWBREAK)
    assert kernel.spaces.pc() == KERNEL_GVA + 8


@pytest.mark.needs("layout")
def test_no_brk_is_put_into_memory_that_is_no_ram(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code in flash, which the debugger could write, and the guest could not."""
    machine = start(STRAIGHT).machine
    monkeypatch.setattr(type(machine), "ram_ranges", [range(1 << 40, 1 << 41)])
    client = Client(machine)
    code = machine.read_memory(BASE, 16)
    client.target.insert(1, BreakpointKind.SOFTWARE, at(1), 4)
    assert (client.go().stop, client.pc(1)) == (StopReason.SWBREAK, at(1))
    served = client.target.breakpoints.served(at(1))
    assert (served.service, served.why) == (Service.COMPARATOR, "ROM")
    assert machine.read_memory(BASE, 16) == code
