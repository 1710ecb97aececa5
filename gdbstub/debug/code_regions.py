"""Code regions: instructions of a range that one vCPU runs in one go, in place of steps.

It runs nothing: ``plans`` does. ``aarch64.instructions.region`` finds the instructions.
"""

from typing import Final

from gdbstub.aarch64.comparators import breakpoint_at
from gdbstub.aarch64.exceptions import vector
from gdbstub.aarch64.instructions import Region, region
from gdbstub.aarch64.registers import CPSR, MDSCR_EL1, VBAR_EL1
from gdbstub.aarch64.sysreg import MDSCR, PSTATE
from gdbstub.debug.breakpoints import Breakpoints
from gdbstub.debug.caches import Cache, Caches, Content
from gdbstub.debug.vcpu_steps import VcpuSteps
from gdbstub.machine import Machine
from gdbstub.target import Range

#: Instructions in a region up to which stepping it is as fast as running it.
_SHORT: Final = 6
_REGIONS: Final = 4096
#: In place of a region that is not to be run, but stepped.
NOT_RUN: Final = Region(frozenset(), (), loops=False)


class CodeRegions:
    """The regions that one vCPU can run, by their first address, or ``NOT_RUN``.

    They depend on VBAR_EL1, MDSCR_EL1 and the armed comparators as well, which do not change while
    a range is stepped.
    """

    def __init__(
        self,
        machine: Machine,
        index: int,
        breakpoints: Breakpoints,
        steps: VcpuSteps,
        caches: Caches,
    ) -> None:
        """Serve the vCPU with this *index* until the machine is reset."""
        self._slots = machine.breakpoint_slots
        self._vcpu = machine.vcpus[index]
        self._breakpoints = breakpoints
        self._steps = steps
        self._regions: Cache[int, Region] = caches.add(
            "regions",
            Content.REGISTERS | Content.CODE | Content.BREAKPOINTS,
            Cache(_REGIONS),
            vcpu=index,
        )

    def at(self, pc: int, range_: Range) -> Region:
        """Return the region to run from *pc*; ``NOT_RUN`` if its instruction is to be stepped."""
        found = self._regions.get(pc)
        if found is not None:
            return found
        ahead, runs = self._ahead(pc, range_)
        if runs:
            self._regions.put(pc, ahead)
            return ahead
        for at in ahead.inside:
            if at not in self._regions:
                self._regions.put(at, NOT_RUN)
        return NOT_RUN

    def _ahead(self, pc: int, range_: Range) -> tuple[Region, bool]:
        """Return the region at *pc*, and True if running it shows no more than stepping it.

        Our comparators would take the place of the guest's own, so it is not run if the guest
        uses any. Nor is one that leads to where the vector of its faults is.
        """
        vcpu, armed = self._vcpu, self._breakpoints.armed.breakpoints
        room = self._slots - len(armed) - 1  # one for a fault
        ahead = region(pc, range(range_.start, range_.end), self._steps.icache, room)
        is_worth_it = ahead.loops or len(ahead.inside) > _SHORT
        if self._steps.step_irqs or room < 1 or not is_worth_it:
            return ahead, False
        pstate, mdscr = PSTATE(vcpu.get(CPSR)), MDSCR(vcpu.get(MDSCR_EL1))
        if pstate.nRW or mdscr.MDE or mdscr.SS or breakpoint_at(pc) in armed:
            return ahead, False
        fault = vcpu.get(VBAR_EL1) + vector(pstate)
        return ahead, fault not in ahead.inside and fault not in ahead.exits
