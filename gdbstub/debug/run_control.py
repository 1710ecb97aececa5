"""Run control: resumes the vCPUs by their plans, and makes one report of what stopped them.

The server's thread calls it while all vCPUs are parked. vCPU threads call ``debug_exit`` and
``parked`` while they run.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from gdbstub.debug.breakpoints import Breakpoints
from gdbstub.debug.caches import Caches, Content
from gdbstub.debug.extensions import Examiner, Observer, ProcessFilter
from gdbstub.debug.pending_stops import PendingStops
from gdbstub.debug.plans import VcpuPlans
from gdbstub.debug.registers import ClientRegisters
from gdbstub.debug.run_state import TRANSITIONS, RunEvent, RunState
from gdbstub.debug.stop_points import InsertedStopPoints, StopPointsOwner
from gdbstub.debug.stop_reasons import StopClassifier
from gdbstub.debug.vcpu_steps import CutShort, ThreadPlan
from gdbstub.errors import MachineError, StubError
from gdbstub.machine import (
    DebugExit,
    Exit,
    Machine,
    Resettable,
    RunFailure,
    RunMode,
    SystemEvent,
    SystemEventKind,
    resettable,
)
from gdbstub.target import (
    Action,
    Exited,
    Range,
    Report,
    Signal,
    Stopped,
)

_log = logging.getLogger("gdbstub.debugger")

# Names of their own, for each stop's sake: before Python 3.12 ``Enum.MEMBER`` is slow.
_after = TRANSITIONS.after
_HALTED, _EXITED = RunState.HALTED, RunState.EXITED
_ENDING, _DETACHED = RunState.ENDING, RunState.DETACHED
_RESUME, _STOPPED = RunEvent.RESUME, RunEvent.STOPPED
_CONTINUE: Final = Action.CONTINUE
_RAN, _STEPPED = Content.RAN, Content.STEPPED
_DETACH_AT_REST: Final = (RunState.DETACHING, RunState.REATTACHING)


class Owner(StopPointsOwner, Protocol):
    """The debugger: its settings, and what it wants to hear."""

    notify: Callable[[], None]
    at_end: Callable[[], None]
    step_irqs: bool
    process: ProcessFilter | None
    reboots: bool
    examiner: Examiner | None

    @property
    def observers(self) -> Sequence[Observer]:
        """Objects that follow what the debugger does."""
        ...

    def print(self, text: bytes) -> None:
        """Keep what a breakpoint's commands printed. Called on vCPU threads."""
        ...


class RunControl:
    """Implements ``Listener``. vCPUs are named by their numbers."""

    def __init__(
        self,
        machine: Machine,
        breakpoints: Breakpoints,
        registers: ClientRegisters,
        caches: Caches,
        owner: Owner,
    ) -> None:
        """Listen to *machine*, which is halted at the guest's first instruction."""
        machine.listener = self
        self._machine = machine
        self._breakpoints = breakpoints
        self._caches = caches
        self._owner = owner
        self._classifier = StopClassifier(machine, breakpoints, registers, owner.print)
        self._plans = self._all_plans()
        self._under_way: dict[int, ThreadPlan] = {}
        # The vCPU that the last resume stepped, if it resumed no other.
        self._stepped: int | None = None
        self._pending = PendingStops()
        self._stop_points = InsertedStopPoints(machine, breakpoints, self._classifier, owner)
        # Exits of a run that is over, from the vCPU thread that parked last; None while there
        # is nothing for ``take_report``.
        self._exits: Sequence[Exit] | None = None
        # What the stop is, while it is examined and no client has been told of it.
        self._examined: RunEvent | None = None
        #: State of the guest.
        self.state = RunState.HALTED
        #: Last report.
        self.report: Report = Stopped(1)

    @property
    def running(self) -> bool:
        """True from a resume to the ``take_report`` that follows it."""
        return self.state is not _HALTED and self.state is not _EXITED

    @property
    def stopped_index(self) -> int:
        """Number of the vCPU that the last report is of; 0 if the guest has ended."""
        return self.report.thread - 1 if isinstance(self.report, Stopped) else 0

    def _happened(self, event: RunEvent) -> None:
        self.state = _after(self.state, event)

    def written(self, vcpu: int) -> None:
        """Note that a client has written a register of a vCPU."""
        self._plans[vcpu].written()

    def moved(self, vcpu: int) -> None:
        """Note that a client has written the PC of a vCPU."""
        self._pending.moved(vcpu)
        self._classifier.moved(vcpu)

    def resume(self, actions: Mapping[int, Action | Range]) -> None:
        """Resume vCPUs, by their numbers."""
        self.state = _after(self.state, _RESUME)
        self._start(actions)

    def _run_detached(self) -> None:
        self._start(dict.fromkeys(range(len(self._machine.vcpus)), Action.CONTINUE))

    def _start(self, actions: Mapping[int, Action | Range]) -> None:
        """Start vCPUs, by their numbers."""
        pending = self._pending
        try:
            if self._owner.examiner is not None:
                self._check_not_examined()
            self._stop_points.insert()
            self._classifier.process = self._owner.process
            if len(actions) > 1:
                actions = {index: actions[index] for index in pending.in_order(actions)}
            modes = {} if pending.due(actions) else self._begin_plans(actions)
            if pending.stops:  # one is due, or a plan has ended already: no vCPU need run
                self.parked(())
            else:
                self._machine.resume(modes)
        except BaseException:
            self._happened(RunEvent.FAILED)
            self._caches.invalidate(Content.RAN)
            self._cut_short()
            raise
        for observer in self._owner.observers:
            observer.resumed()

    def _begin_plans(self, actions: Mapping[int, Action | Range]) -> Mapping[int, RunMode]:
        """Begin the plans for *actions*; return the vCPUs that are to run, and how."""
        self._breakpoints.arm()
        if not self._steps_again(actions):
            self._caches.invalidate(_RAN)
        step_irqs = self._owner.step_irqs
        under_way = self._under_way = {}
        for index, action in actions.items():
            under_way[index] = self._plans[index].plan(action, step_irqs=step_irqs)
        modes: dict[int, RunMode] = {}
        for index, plan in under_way.items():
            if self._classifier.any_still_at:
                self._classifier.resuming(index)
            try:
                modes[index] = next(plan)
            except StopIteration as done:
                self._pending.stops[index] = done.value
        return modes

    def _steps_again(self, actions: Mapping[int, Action | Range]) -> bool:
        """Return True if the vCPU that was stepped last, alone, is the only one to be stepped."""
        last, self._stepped = self._stepped, None
        if len(actions) == 1:
            index, action = next(iter(actions.items()))
            if action is not _CONTINUE:
                self._stepped = index
        return last is not None and last == self._stepped

    def _all_plans(self) -> Sequence[VcpuPlans]:
        return [
            VcpuPlans(self._machine, index, self._classifier, self._caches)
            for index in range(len(self._machine.vcpus))
        ]

    def interrupt(self) -> None:
        """Ask a running guest to stop."""
        if self._examined and self._owner.examiner and self.state is RunState.RUNNING:
            self._owner.examiner.interrupt()
        self._happened(RunEvent.INTERRUPT)
        self._machine.interrupt()

    def detach(self) -> None:
        """Remove all breakpoints and let the guest run."""
        if self.state is RunState.HALTED:
            self._remove_breakpoints()
        self._leave(RunEvent.DETACH)
        if self.state is RunState.DETACHED:
            self._run_detached()

    def release(self) -> None:
        """Remove all breakpoints; a halted guest stays halted."""
        if not self.running:
            self._remove_breakpoints()
        self._leave(RunEvent.RELEASE)

    def _leave(self, event: RunEvent) -> None:
        running = self.running
        self._happened(event)
        if running:
            # BRKs come out only while every vCPU is parked: see ``take_report``.
            self._machine.interrupt()
        for observer in self._owner.observers:
            observer.client_left()

    def _remove_breakpoints(self) -> None:
        self._pending.forget()
        self._classifier.breakpoints_removed()
        self._breakpoints.remove_all()

    def _withdraw(self) -> None:
        """Remove all BRKs from a guest that has ended: its memory may outlive it."""
        try:
            self._breakpoints.withdraw()
        except StubError as error:  # the memory has ended, too
            _log.debug("the guest's memory cannot be written any more: %s", error)

    def reset(self) -> None:
        """Start the guest over, halted at its first instruction; all vCPUs are parked.

        Raises:
            MachineError: the machine has no reset.
        """
        if (machine := resettable(self._machine)) is None:
            raise MachineError("this machine offers no reset: end the guest and start it anew")
        self._check_not_examined()
        self._happened(RunEvent.RESET)
        self._start_over(machine)

    def _start_over(self, machine: Resettable) -> None:
        machine.reset()
        self._plans = self._all_plans()  # for its new vCPUs
        self._caches.invalidate(Content.ALL)
        self._breakpoints.forget()
        self._classifier.reset()
        self._pending.forget()
        self.report = Stopped(1)
        for observer in self._owner.observers:
            observer.restarted()

    def kill(self) -> None:
        """End the guest; whoever made the machine closes it."""
        running = self.running
        self._happened(RunEvent.KILL)
        self.report = Exited()
        if running:
            self._machine.interrupt()
        else:
            self._withdraw()
        for observer in self._owner.observers:
            observer.killed()

    # Exits, on vCPU threads.

    def debug_exit(self, exit: DebugExit) -> RunMode | None:
        """Return how the vCPU goes on by its plan, None at the end of that."""
        try:
            return self._under_way[exit.vcpu].send(exit)
        except StopIteration as done:
            self._pending.stops[exit.vcpu] = done.value
            del self._under_way[exit.vcpu]
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%r: %s", exit, self._pending.stops[exit.vcpu])
        return None

    def parked(self, exits: Sequence[Exit]) -> None:
        """Hand over to the server's thread: all vCPUs are parked."""
        self._exits = exits
        self._owner.notify()

    # Stops, on the server's thread again.

    def take_report(self) -> Report | None:
        """Return the report after a stop; None where there was none, or it is for no client."""
        if (exits := self._exits) is not None:
            self._exits = None
            event = self._end_run(exits)
        elif self._examined is not None:
            event = self._examined
        else:
            return None
        if self._owner.examiner is not None and self._is_examined(event):
            return None
        left = self.state in _DETACH_AT_REST
        if left:
            try:
                self._remove_breakpoints()
            except StubError as error:  # the guest must go on, or be there for the next client
                _log.error("breakpoints may be left in the guest: %s", error)
        self.state = _after(self.state, event)
        if self.state is _EXITED:
            self._withdraw()
        if self.state is _DETACHED:
            self._run_detached()
            return None
        if self._owner.observers and isinstance(self.report, Stopped):
            for observer in self._owner.observers:
                observer.stopped(self.report)
        return self.report

    def _end_run(self, exits: Sequence[Exit]) -> RunEvent:
        """End the plans of a run; make its report, and return what happened to the guest."""
        for plans in self._plans:
            plans.collect()
        self._caches.invalidate(_RAN if self._stepped is None else _STEPPED)
        if self._under_way:
            self._cut_short()
        event = _STOPPED
        if self.state is not _ENDING:
            self.report, event = self._conclude(exits)
        return event

    def _is_examined(self, event: RunEvent) -> bool:
        """Return True while a stop is examined, before a client is told of it."""
        if (examiner := self._owner.examiner) is None:
            return False
        if self._examined is None and event is _STOPPED and isinstance(self.report, Stopped):
            examiner.begin(self.report)
        self._examined = event if examiner.busy else None
        return examiner.busy

    def _check_not_examined(self) -> None:
        if (examiner := self._owner.examiner) is not None and examiner.busy:
            raise MachineError("the guest stays halted while its core file is written: wait for it")

    def _cut_short(self) -> None:
        """Let the plans clean up that were cut short by another vCPU's stop."""
        plans, self._under_way = self._under_way, {}
        for index, plan in plans.items():
            try:
                plan.throw(CutShort())
            except CutShort:
                pass
            except StubError as error:  # the others have something to clean up, too
                _log.error("vCPU %d may not be as it was: %s", index, error)

    def _conclude(self, exits: Sequence[Exit]) -> tuple[Report, RunEvent]:
        """Return one report for all exits of a stop, and what happened to the guest."""
        for exit in exits:
            if isinstance(exit, SystemEvent):
                return self._system_event(exit)
        for exit in exits:
            if isinstance(exit, RunFailure):
                return _failure(exit.vcpu, f"vCPU {exit.vcpu} cannot run: {exit.why}")
        if not self._pending.stops:
            return Stopped(self.stopped_index + 1, Signal.INT), _STOPPED
        index, stop = self._pending.next()
        self._classifier.reported(index)
        return self._stop_points.classify(index, stop), _STOPPED

    def _system_event(self, event: SystemEvent) -> tuple[Report, RunEvent]:
        match event.kind:
            case SystemEventKind.RESET if self._owner.reboots and (
                machine := resettable(self._machine)
            ):
                try:
                    self._start_over(machine)
                except StubError as error:
                    _log.error("the guest has reset itself and cannot be started over: %s", error)
                    self._owner.at_end()
                    return Exited(1), RunEvent.ENDED
                return self.report, RunEvent.REBOOTED
            case SystemEventKind.SHUTDOWN | SystemEventKind.RESET:
                self._owner.at_end()
                return Exited(), RunEvent.ENDED
            case SystemEventKind.CRASH:
                text = f"vCPU {event.vcpu}: the guest reports that it has crashed"
                return _failure(event.vcpu, text)


def _failure(vcpu: int, text: str) -> tuple[Report, RunEvent]:
    _log.error("%s", text)
    return Stopped(vcpu + 1, Signal.ABRT, text=text), RunEvent.STOPPED
