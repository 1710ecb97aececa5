"""Stop points: the stub's own breakpoints, which no client sees, and the stops there.

``observer.StopPoints`` says where they are.
"""

import logging
from collections.abc import Sequence
from typing import Protocol

from gdbstub.aarch64.registers import PC
from gdbstub.debug.breakpoints import Breakpoints
from gdbstub.debug.observer import StopPoints
from gdbstub.debug.stop_reasons import StopClassifier
from gdbstub.errors import StubError
from gdbstub.machine import Machine
from gdbstub.target import BreakpointKind, Stopped, StopReason

_log = logging.getLogger("gdbstub.debugger")

SOFTWARE, HARDWARE = BreakpointKind.SOFTWARE, BreakpointKind.HARDWARE


class StopPointsOwner(Protocol):
    """The debugger, which has stop points, and breakpoints of a client beside them."""

    @property
    def stop_points(self) -> Sequence[StopPoints]:
        """All groups of places at which the stub itself stops the guest."""
        ...

    def asks_for(self, gva: int, *kinds: BreakpointKind) -> bool:
        """Return True if a client has requested a breakpoint at *gva*, of one of *kinds*."""
        ...


class InsertedStopPoints:
    """The stop points of one machine, inserted anew at each resume."""

    def __init__(
        self,
        machine: Machine,
        breakpoints: Breakpoints,
        classifier: StopClassifier,
        owner: StopPointsOwner,
    ) -> None:
        """Begin with none inserted."""
        self._machine = machine
        self._breakpoints = breakpoints
        self._classifier = classifier
        self._owner = owner
        self._inserted: set[int] = set()
        # The vCPU whose last stop was told as one of a stop point, and its PC there.
        self._told_at: tuple[int, int] | None = None
        # True if a client's conditions there were false.
        self._told_alone = False
        # The same place, where a client's own breakpoint is hit next.
        self._hit_again: tuple[int, int] | None = None

    def insert(self) -> None:
        """Insert the stop points; all vCPUs are parked, and about to be resumed."""
        if not self._owner.stop_points and not self._inserted:
            return
        told, self._told_at = self._told_at, None
        self._hit_again = self._classifier.passed = None
        if told is not None and told[1] == self._machine.vcpus[told[0]].get(PC):
            if self._owner.asks_for(told[1], SOFTWARE, HARDWARE):
                if self._told_alone:
                    self._classifier.passed = told
                else:
                    self._hit_again = told
            else:
                # A client that has no breakpoint there goes on without stepping over it.
                self._classifier.set_still_at(*told)
        wanted = {gva for points in self._owner.stop_points for gva in points.addresses}
        for gva in self._inserted - wanted:
            asked = self._owner.asks_for(gva, SOFTWARE)
            if not asked and not self._breakpoints.conditions.persists(SOFTWARE, gva):
                self._breakpoints.remove(SOFTWARE, gva, 4)
        for gva in wanted:
            try:
                self._breakpoints.insert(0, SOFTWARE, gva, 4)
            except StubError as error:  # what the client wants goes on
                _log.warning("the guest does not stop at %#x: %s", gva, error)
        self._inserted = self._classifier.stop_points = wanted

    def classify(self, index: int, stop: Stopped) -> Stopped:
        """Return *stop* of a vCPU, or what it is at a stop point."""
        # Where a client's conditions were false, it hears of the stop point alone.
        alone = index in self._classifier.alone
        self._classifier.alone.discard(index)
        if not self._owner.stop_points or stop.stop is not StopReason.SWBREAK:
            return stop
        pc = self._machine.vcpus[index].get(PC)
        for points in self._owner.stop_points:
            if pc in points.addresses:
                return self._told(index, pc, stop, points, alone=alone)
        return stop

    def _told(
        self, index: int, pc: int, stop: Stopped, points: StopPoints, *, alone: bool
    ) -> Stopped:
        again, self._hit_again = self._hit_again == (index, pc), None
        self._told_at, self._told_alone = (index, pc), alone
        told = points.stop_at(index, pc)
        if told.text:
            _log.warning("%s (vCPU %d at %#x)", told.text, index, pc)
            asked = not alone and self._owner.asks_for(pc, SOFTWARE, HARDWARE)
            return stop._replace(text=told.text) if asked else told
        return stop if again else told
