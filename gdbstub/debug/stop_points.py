"""Stop points: the stub's own breakpoints, which no client sees, and the stops there.

``extensions.StopPoints`` says where they are.
"""

import logging
from collections.abc import Sequence
from typing import Protocol

from gdbstub.aarch64.registers import PC
from gdbstub.debug.breakpoints import HARDWARE, SOFTWARE, Breakpoints
from gdbstub.debug.extensions import StopPoints
from gdbstub.debug.stop_reasons import StopClassifier
from gdbstub.errors import StubError
from gdbstub.machine import Machine
from gdbstub.target import BreakpointKind, Stopped, StopReason

_log = logging.getLogger("gdbstub.debugger")


class StopPointsOwner(Protocol):
    """The debugger, which has stop points, and breakpoints of a client beside them."""

    @property
    def stop_points(self) -> Sequence[StopPoints]:
        """All groups of places at which the stub itself stops the guest."""
        ...

    def has_requested(self, gva: int, *kinds: BreakpointKind) -> bool:
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
        # The vCPU whose last stop was reported as one of a stop point, and its PC there.
        self._reported_at: tuple[int, int] | None = None
        # True if a client's conditions there were false.
        self._stop_point_only = False
        # The same place, where a client's own breakpoint is hit next.
        self._hit_again: tuple[int, int] | None = None

    def insert(self) -> None:
        """Insert the stop points; all vCPUs are parked, and about to be resumed."""
        if not self._owner.stop_points and not self._inserted:
            return
        reported, self._reported_at = self._reported_at, None
        self._hit_again = self._classifier.reported_at = None
        if reported is not None and reported[1] == self._machine.vcpus[reported[0]].get(PC):
            if self._owner.has_requested(reported[1], SOFTWARE, HARDWARE):
                if self._stop_point_only:
                    self._classifier.reported_at = reported
                else:
                    self._hit_again = reported
            else:
                # A client that has no breakpoint there goes on without stepping over it.
                self._classifier.set_still_at(*reported)
        wanted = {gva for points in self._owner.stop_points for gva in points.addresses}
        for gva in self._inserted - wanted:
            asked = self._owner.has_requested(gva, SOFTWARE)
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
        # Where a client's conditions were false, it hears of the stop point only.
        only = index in self._classifier.at_stop_point_only
        self._classifier.at_stop_point_only.discard(index)
        if not self._owner.stop_points or stop.stop is not StopReason.SWBREAK:
            return stop
        pc = self._machine.vcpus[index].get(PC)
        for points in self._owner.stop_points:
            if pc in points.addresses:
                return self._at_stop_point(index, pc, stop, points, only=only)
        return stop

    def _at_stop_point(
        self, index: int, pc: int, stop: Stopped, points: StopPoints, *, only: bool
    ) -> Stopped:
        """Return the stop of a vCPU at one of *points*; *only*: no client's breakpoint stops."""
        again, self._hit_again = self._hit_again == (index, pc), None
        self._reported_at, self._stop_point_only = (index, pc), only
        ours = points.stop_at(index, pc)
        if ours.text:
            _log.warning("%s (vCPU %d at %#x)", ours.text, index, pc)
            asked = not only and self._owner.has_requested(pc, SOFTWARE, HARDWARE)
            return stop._replace(text=ours.text) if asked else ours
        return stop if again else ours
