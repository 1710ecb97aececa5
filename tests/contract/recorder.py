"""A ``Listener`` that notes what it is told, and waits for it with a bound."""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence

from gdbstub.machine import DebugExit, Exit, Machine, RunMode
from tests.bounds import HANGS


class StopRecorder:
    """Attach with ``StopRecorder(machine)``."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        machine.listener = self
        #: Every debug exit, with the thread that it was told on.
        self.debug_exits: list[tuple[DebugExit, int]] = []
        #: Asked at each debug exit; the answer is the listener's.
        self.decide: Callable[[DebugExit], RunMode | None] = lambda _: None
        self._parked: queue.Queue[tuple[Exit, ...]] = queue.Queue()

    def debug_exit(self, exit: DebugExit) -> RunMode | None:
        self.debug_exits.append((exit, threading.get_ident()))
        return self.decide(exit)

    def parked(self, exits: Sequence[Exit]) -> None:
        self._parked.put(tuple(exits))

    def wait(self) -> tuple[Exit, ...]:
        """The exits of the run that is under way."""
        return self._parked.get(timeout=HANGS)

    def run(self, steps: Mapping[int, bool] | None = None) -> tuple[Exit, ...]:
        """Resume, every vCPU and without stepping unless told, and wait."""
        steps = steps or dict.fromkeys(range(len(self.machine.vcpus)), False)
        self.machine.resume({index: RunMode(step) for index, step in steps.items()})
        return self.wait()

    def debug(self, steps: Mapping[int, bool] | None = None) -> DebugExit:
        """Run to a debug exit, and to nothing else."""
        (exit,) = self.run(steps)
        assert isinstance(exit, DebugExit), exit
        return exit

    def step(self, vcpu: int = 0) -> DebugExit:
        """Step one vCPU, the others at rest."""
        return self.debug({vcpu: True})

    def nothing_more(self) -> bool:
        """Return True if each call of ``parked`` so far has been waited for."""
        return self._parked.empty()
