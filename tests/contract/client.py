"""A client without packets: resumes a ``Debugger`` and waits for its report, as a server does."""

import queue
from collections.abc import Mapping

from gdbstub.aarch64.registers import PC, X
from gdbstub.debug.caches import Caches
from gdbstub.debug.debugger import Debugger
from gdbstub.debug.placement import Preference
from gdbstub.machine import Machine
from gdbstub.target import Action, BreakpointKind, Range, Report, Resume, Stopped
from tests.bounds import HANGS


class Client:
    """A client's requests to the target, as methods for tests; thread *n* is vCPU *n* - 1."""

    def __init__(
        self,
        machine: Machine,
        prefer: Preference = Preference.SOFTWARE,
        *,
        caches: Caches | None = None,
    ) -> None:
        """Connect to *machine*. By default BRKs serve all software breakpoints."""
        self.machine = machine
        self.target = Debugger(machine, caches=caches)
        self.target.breakpoints.preference = prefer
        self._notifier: queue.Queue[None] = queue.Queue()
        self.target.notify = lambda: self._notifier.put(None)
        self._interrupts = False

    def resume(self, actions: Mapping[int, Action | Range]) -> Stopped:
        """Set the threads going and wait for the stop."""
        report = self.run_to_report(actions)
        assert isinstance(report, Stopped), report
        return report

    def run_to_report(self, actions: Mapping[int, Action | Range] | None = None) -> Report:
        """Set the threads going, all of them unless told, and wait for what there is to say."""
        self.target.resume(Resume(actions or dict.fromkeys(self.threads, Action.CONTINUE)))
        if self._interrupts:
            self.target.interrupt()
        return self.wait()

    def wait(self) -> Report:
        """Wait for what there is to say of a guest that runs."""
        while True:
            self._notifier.get(timeout=HANGS)
            if (report := self.target.take_report()) is not None:
                return report

    def interrupt_at_once(self) -> None:
        """Interrupt each resume from now on as soon as it is made."""
        self._interrupts = True

    def go(self) -> Stopped:
        """``vCont;c``."""
        return self.resume(dict.fromkeys(self.threads, Action.CONTINUE))

    @property
    def threads(self) -> range:
        return range(1, 1 + len(self.machine.vcpus))

    def pc(self, thread: int) -> int:
        return self.machine.vcpus[thread - 1].get(PC)

    def x(self, thread: int, number: int) -> int:
        return self.machine.vcpus[thread - 1].get(X[number])

    def step_over(self, thread: int, kind: BreakpointKind, gva: int, length: int) -> None:
        """Step a thread alone over a breakpoint, which is removed and inserted as GDB does."""
        before = self.pc(thread)
        self.target.remove(thread, kind, gva, length)
        report = self.resume({thread: Action.STEP})
        assert (report.thread, self.pc(thread)) == (thread, before + 4)
        self.target.insert(thread, kind, gva, length)
