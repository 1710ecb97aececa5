"""Several vCPUs may stop at once, and a client hears of one: whose turn it is, and who must wait.

It knows nothing of how they run. Verdicts come from vCPU threads, one for each; all else is for
while all are parked.
"""

from collections.abc import Iterable, Mapping

from gdbstub.target import Action, Range, Stopped, StopReason


class PendingStops:
    """What there is to tell of each vCPU.

    Who was told of longest ago is told of first, and goes first, or one that always gets to its
    next stop before the others would be all that a client hears of.
    """

    def __init__(self) -> None:
        """Nothing has stopped yet."""
        #: By vCPU: what came of its plan. Written on its thread.
        self.stops: dict[int, Stopped] = {}
        self._unsaid: dict[int, Stopped] = {}  # finished steps that came second
        self._told: dict[int, int] = {}  # when, counted in stops
        self._count = 0

    def forget(self) -> None:
        """What was not told is not to be told any more."""
        self._unsaid.clear()

    def moved(self, vcpu: int) -> None:
        """A client has moved this one: its step is no news."""
        self._unsaid.pop(vcpu, None)

    def in_order(self, vcpus: Iterable[int]) -> list[int]:
        """Who is to go first."""
        return sorted(vcpus, key=self._last_told)

    def due(self, actions: Mapping[int, Action | Range]) -> bool:
        """Whether one of these has finished already the step that it is asked for.

        Then that is its verdict. One that is to continue has nothing to say: a client would take
        it for a signal.
        """
        self.stops.clear()
        if not self._unsaid:
            return False
        unsaid = {vcpu: self._unsaid.pop(vcpu) for vcpu in actions if vcpu in self._unsaid}
        for vcpu, step in unsaid.items():
            if actions[vcpu] is not Action.CONTINUE:
                self.stops[vcpu] = step
        return bool(self.stops)

    def next(self) -> tuple[int, Stopped]:
        """Whose turn it is, and what to tell of it; there are verdicts.

        What is not told now is not lost: a breakpoint or watchpoint came before its instruction
        and is met again when its vCPU goes on, and a finished step is kept until the next one.
        """
        vcpu = next(iter(self.stops))
        if len(self.stops) > 1:
            vcpu = min(self.stops, key=self._turn)
        self._count += 1
        self._told[vcpu] = self._count
        stop = self.stops.pop(vcpu)
        self._unsaid |= {v: each for v, each in self.stops.items() if _is_finished_step(each)}
        return vcpu, stop

    def _turn(self, vcpu: int) -> tuple[int, bool]:
        return self._last_told(vcpu), not _is_finished_step(self.stops[vcpu])

    def _last_told(self, vcpu: int) -> int:
        return self._told.get(vcpu, 0)


def _is_finished_step(stop: Stopped) -> bool:
    return stop.stop is StopReason.PLAIN and not stop.text
