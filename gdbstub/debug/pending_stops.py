"""Pending stops: of several vCPUs that stop at once, a client is told of one, the rest must wait.

Plans end on vCPU threads, one for each vCPU; everything else is called while all are parked.
"""

from collections.abc import Iterable, Mapping

from gdbstub.target import Action, Range, Stopped, StopReason


class PendingStops:
    """Stops of vCPUs that are not reported yet.

    The vCPU that was reported longest ago is reported first, and started first. Otherwise a vCPU
    that always gets to its next stop before the others would be all that a client hears of.
    """

    def __init__(self) -> None:
        """Begin without stops."""
        #: Results of the plans, by vCPU. Each is written on its vCPU's thread.
        self.stops: dict[int, Stopped] = {}
        self._kept: dict[int, Stopped] = {}  # finished steps that were not reported
        self._reported: dict[int, int] = {}  # when, counted in reports
        self._count = 0

    def forget(self) -> None:
        """Drop the finished steps that were not reported."""
        self._kept.clear()

    def moved(self, vcpu: int) -> None:
        """Drop the finished step of a vCPU whose PC a client has written."""
        self._kept.pop(vcpu, None)

    def in_order(self, vcpus: Iterable[int]) -> list[int]:
        """Return *vcpus* in the order in which they are to be started."""
        return sorted(vcpus, key=self._last_reported)

    def due(self, actions: Mapping[int, Action | Range]) -> bool:
        """Begin a resume; return True if one of the vCPUs has already finished its step.

        That step is the vCPU's stop then. A finished step is dropped if the vCPU is to continue:
        a client would take it for a signal.
        """
        self.stops.clear()
        if not self._kept:
            return False
        kept = {vcpu: self._kept.pop(vcpu) for vcpu in actions if vcpu in self._kept}
        for vcpu, step in kept.items():
            if actions[vcpu] is not Action.CONTINUE:
                self.stops[vcpu] = step
        return bool(self.stops)

    def next(self) -> tuple[int, Stopped]:
        """Return the vCPU to report now, and its stop; there is at least one.

        The others are not lost. A breakpoint or watchpoint was hit before its instruction and is
        hit again when its vCPU goes on. A finished step is kept until the vCPU's next one.
        """
        vcpu = next(iter(self.stops))
        if len(self.stops) > 1:
            vcpu = min(self.stops, key=self._priority)
        self._count += 1
        self._reported[vcpu] = self._count
        stop = self.stops.pop(vcpu)
        self._kept |= {v: each for v, each in self.stops.items() if _is_finished_step(each)}
        return vcpu, stop

    def _priority(self, vcpu: int) -> tuple[int, bool]:
        return self._last_reported(vcpu), not _is_finished_step(self.stops[vcpu])

    def _last_reported(self, vcpu: int) -> int:
        return self._reported.get(vcpu, 0)


def _is_finished_step(stop: Stopped) -> bool:
    return stop.stop is StopReason.PLAIN and not stop.text
