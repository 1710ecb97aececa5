"""Execution plans: how a vCPU is continued or stepped between two stops that a client sees.

``vcpu_steps`` says what a plan is. ``step_over`` has the plan for a breakpoint that no client is
told of.
"""

from collections.abc import Generator
from typing import Final, NamedTuple

from gdbstub.aarch64.comparators import breakpoint_at
from gdbstub.aarch64.exclusives import entered_within
from gdbstub.aarch64.instructions import (
    ExclusiveSequence,
    keeps_code,
    loads_exclusive,
    plain,
)
from gdbstub.aarch64.registers import CPSR, ELR_EL1, PC, SPSR_EL1, stack_pointer
from gdbstub.aarch64.sysreg import EC, PSTATE
from gdbstub.debug.caches import Caches
from gdbstub.debug.code_regions import NOT_RUN, CodeRegions
from gdbstub.debug.exclusive_steps import ExclusiveSteps
from gdbstub.debug.guest_comparators import GuestComparators
from gdbstub.debug.guest_exception import CopiedBreakpoints, take_exception
from gdbstub.debug.step_over import BreakpointStop, StepOver
from gdbstub.debug.stop_reasons import Disposition, StopClassifier
from gdbstub.debug.vcpu_steps import (
    PASS,
    SEQUENCE_TIMEOUT,
    STEP,
    StopSubPlan,
    SubPlan,
    ThreadPlan,
    VcpuSteps,
    timed_out,
)
from gdbstub.machine import DebugExit, DebugRegisters, Machine, RunMode
from gdbstub.target import Action, Range, Stopped

# A name of its own: before Python 3.12 ``Enum.MEMBER`` is slow.
_STEP: Final = Action.STEP
#: Regions and instructions of a range that are executed with interrupts masked before these are
#: let in; the second where no comparator is free to find the end of their handler.
_MASKED_PIECES, _MASKED_PIECES_WITHOUT_ROOM = 100, 2000
#: Seconds that a vCPU without exception vectors runs, at most, before they are looked for again.
_LONGEST_TIMEOUT: Final = 1.0
_MODE: Final = 0x1F  # PSTATE.M
#: Missing vectors that come before the guest's own comparators.
_LIKELY: Final = 4
_NONE: Final = DebugRegisters()


class ExecutionPoint(NamedTuple):
    """A point that the guest may come back to.

    PC alone does not name it: a handler or another task may execute the same instruction.
    """

    pc: int
    mode: int
    stack: int


class VcpuPlans:
    """The plans that one vCPU can follow."""

    def __init__(
        self, machine: Machine, index: int, classifier: StopClassifier, caches: Caches
    ) -> None:
        """Serve the vCPU with this *index* until the machine is reset."""
        self._machine = machine
        self._index = index
        self._vcpu = machine.vcpus[index]
        self._breakpoints = classifier.breakpoints
        self._classifier = classifier
        self._steps = VcpuSteps(machine, index, classifier.breakpoints, caches)
        self._step_over = StepOver(machine, index, classifier, self._steps)
        self._exclusives = ExclusiveSteps(
            self._vcpu, index, classifier, self._step_over, self._steps
        )
        # True of sequences that may be entered elsewhere than at their load, in this plan.
        self._entered: dict[ExclusiveSequence, bool] = {}
        self._guest_comparators = GuestComparators(machine, index)
        self._copied = CopiedBreakpoints(index)
        self._regions = CodeRegions(machine, index, classifier.breakpoints, self._steps, caches)

    def plan(self, action: Action | Range, *, step_irqs: bool) -> ThreadPlan:
        """Return the plan for *action*; *step_irqs*: a step may end at an interrupt's vector."""
        self._steps.step_irqs = step_irqs
        self._step_over.loads.clear()
        self._entered.clear()
        self._step_over.false_hits.begin()
        return self._follow(action)

    def written(self) -> None:
        """Note that a client has written a register."""
        self._steps.forget()

    def collect(self) -> None:
        """Count the false hits that the machine has passed over; all vCPUs are parked."""
        self._step_over.false_hits.collect()

    def _follow(self, action: Action | Range) -> ThreadPlan:
        try:
            if action is _STEP:
                return (yield from self.step())
            if isinstance(action, Range):
                return (yield from self.step_range(action))
            return (yield from self.continue_())
        except BreakpointStop as hit:
            return hit.stop

    # Running.

    def continue_(self) -> ThreadPlan:
        """Run until there is a stop to report."""
        self._classifier.take_watched(self._index)
        stop = None
        while stop is None:
            stop = yield from self._run(None)
        return stop

    def _run(self, until: ExecutionPoint | None) -> StopSubPlan:
        """Run until there is a stop to report, or the vCPU has come to the place *until*.

        Beside what is armed there are comparators for that, for load-exclusives, and for missing
        exception vectors, with which the vCPU comes out again and again to see if they still are;
        then those of the guest's own that ours would hide, as far as slots last.
        """
        wait, armed, missing = SEQUENCE_TIMEOUT, self._breakpoints.armed, self._steps.guard.places()
        hides = bool(armed.breakpoints or armed.watchpoints) and self._guest_comparators.enabled()
        while True:
            if missing:
                missing = self._steps.guard.places()
                if (stop := self._steps.guard.stop()) is not None:
                    return stop
            own = self._guest_comparators.comparators() if hides else _NONE
            self._classifier.note_guest_comparators(self._index, own)
            mode = PASS
            if until is not None or self._step_over.loads or missing or own is not _NONE:
                mode = self._mode(until, missing, own, wait)
            exit = yield from self._steps.run(mode)
            if timed_out(exit):
                # There are no exception vectors yet, and no need to look again so soon.
                wait = min(2 * wait, _LONGEST_TIMEOUT)
            while exit.esr.EC != EC.STEP_LOWER and not timed_out(exit):
                if exit.esr.EC == EC.BREAKPOINT_LOWER:
                    pc = self._vcpu.get(PC)
                    if until is not None and pc == until.pc and self._here() == until:
                        return None
                    if not self._breakpoints.comparator_at(pc):
                        if (stop := self._steps.guard.stop()) is not None:
                            return stop
                        if (past := self._past_own_comparator(pc, until, missing)) is not None:
                            exit = yield from past
                            continue
                match self._classifier.classify(exit):
                    case Disposition.REINJECT:
                        if (stop := self._reinject(exit)) is not None:
                            return stop
                        break
                    case Disposition.STEP_OVER:
                        exit = yield from self._step_over.breakpoint(exit)
                        failed = self._step_over.failed
                        stepped = failed is not None and exit.esr.EC == EC.STEP_LOWER
                        if failed is not None and stepped and self._is_full(armed, until):
                            exit = yield from self._step_over.follow(failed)
                    case stopped:
                        return stopped

    def _mode(
        self,
        until: ExecutionPoint | None,
        missing: tuple[int, ...],
        own: DebugRegisters,
        limit: float,
    ) -> RunMode:
        """Return the mode of a run with comparators besides those that are armed (``_run``).

        *missing* are exception vectors that are not there, and *own* the guest's comparators.
        """
        armed, loads = self._breakpoints.armed, self._step_over.loads
        place = () if until is None else (until.pc,)
        used = self._with_room(armed, len(place) + len(loads))
        vectors = missing if own is _NONE else missing[:_LIKELY]
        return RunMode(
            debug=None if used is armed else used,
            more=self._steps.additional(used, (*place, *loads, *vectors), own),
            limit=limit if missing else None,
            passes=not (place or loads) and own is _NONE,
        )

    def _past_own_comparator(
        self, pc: int, until: ExecutionPoint | None, missing: tuple[int, ...]
    ) -> SubPlan | None:
        """Return the plan past a comparator that ``_mode`` has set at *pc*; None if it set none."""
        if pc in self._step_over.loads:
            return self._exclusives.met(pc)
        # A vector that was *missing* may have been mapped since.
        if pc in missing or (until is not None and pc == until.pc):
            return self._step_over.comparator(pc)
        return None

    def _with_room(self, armed: DebugRegisters, places: int) -> DebugRegisters:
        """Return *armed*, less comparators within exclusive sequences if there is no room else.

        A vCPU comes to them by their load, which is among the *places* to have one. Those of a
        sequence that it is in, or may enter elsewhere, stay.
        """
        if len(armed.breakpoints) + places <= self._steps.breakpoint_slots:
            return armed
        pc = self._vcpu.get(PC)
        by_load = [
            each
            for each in self._step_over.loads.values()
            if pc not in each.inside[1:] and not self._is_entered_within(each)
        ]
        spared = {breakpoint_at(at) for each in by_load for at in each.inside[1:]}
        kept = tuple(pair for pair in armed.breakpoints if pair not in spared)
        return armed._replace(breakpoints=kept)

    def _is_entered_within(self, sequence: ExclusiveSequence) -> bool:
        if (entered := self._entered.get(sequence)) is None:
            entered = self._entered[sequence] = entered_within(sequence, self._steps.icache)
        return entered

    def _is_full(self, armed: DebugRegisters, until: ExecutionPoint | None) -> bool:
        """Return True if there is no room for a comparator on the load of each failed sequence."""
        places = len(self._step_over.loads) + (until is not None)
        used = self._with_room(armed, places)
        return len(used.breakpoints) + places > self._steps.breakpoint_slots

    def _here(self) -> ExecutionPoint:
        """Return the place of the vCPU."""
        pstate = PSTATE(self._vcpu.get(CPSR))
        stack = self._vcpu.get(stack_pointer(pstate))
        return ExecutionPoint(self._vcpu.get(PC), pstate & _MODE, stack)

    def _reinject(self, exit: DebugExit) -> Stopped | None:
        """Give the guest its own exception; a stop where it cannot be given."""
        self._copied.note(exit.esr, self._vcpu.get(PC))
        if take_exception(self._vcpu, exit.esr, exit.far):
            return None
        text = (
            f"vCPU {self._index}: the guest's own debug exception (ESR_EL2 {exit.esr:#x}) cannot "
            "be given back to it, because its EL1 is AArch32: write pc to get past the instruction"
        )
        return Stopped(self._index + 1, text=text)

    # Stepping.

    def step(self) -> ThreadPlan:
        """Execute one instruction.

        Where a watchpoint has stopped at an exclusive one, it may be more (``ExclusiveSteps``).
        """
        if (stop := self._steps.guard.stop()) is not None:
            return stop  # nothing can be executed there
        watched = self._classifier.take_watched(self._index)
        pc = self._vcpu.get(PC)
        word = self._steps.icache(pc)
        sequence = self._exclusives.watched(pc) if watched else None
        if sequence is not None and pc == sequence.load:
            exit = yield from self._step_over.sequence(sequence)
        else:
            exit = yield from self._steps.execute(STEP, pc, word)
        if not (plain(word) or keeps_code(word)):
            self._steps.code_may_have_changed()
        stop = None
        while stop is None:
            if exit.esr.EC == EC.STEP_LOWER:
                if sequence is None or not self._exclusives.has_failed(sequence):
                    return self._steps.guard.stop() or self._classifier.step_is_done(self._index)
                exit = yield from self._exclusives.finish(sequence)
                sequence = None
                self._steps.code_may_have_changed()
                continue
            stop, exit = yield from self._classified(exit, one_instruction=True)
        return stop

    def step_range(self, range_: Range) -> ThreadPlan:
        """Step until PC is outside *range_* or there is a stop to report."""
        vcpu, steps = self._vcpu, self._steps
        if (stop := steps.guard.stop()) is not None:
            return stop
        self._classifier.take_watched(self._index)
        steps.masked, inside = 0, range(range_.start, range_.end)
        most = _MASKED_PIECES if self._has_room() else _MASKED_PIECES_WITHOUT_ROOM
        while True:
            stop = yield from self._piece(range_)
            if stop is None and steps.masked > most and vcpu.get(PC) in inside:
                stop = yield from self._let_interrupts_in()
            if stop is not None:
                return stop
            if vcpu.get(PC) not in inside:
                return Stopped(self._index + 1)

    def _piece(self, range_: Range) -> StopSubPlan:
        """Execute an instruction, an exclusive sequence or a region of *range_*."""
        steps, pc = self._steps, self._vcpu.get(PC)
        word = steps.icache(pc)
        if loads_exclusive(word) and not self._is_compared(pc):
            exit = yield from self._exclusives.sequence_at(pc)
        elif (ahead := self._regions.at(pc, range_)) is not NOT_RUN:
            watchpoints = self._breakpoints.armed.watchpoints
            exit = yield from steps.sequence(ahead.inside, ahead.exits, watchpoints)
        else:
            exit = yield from steps.instruction(STEP)
            if not keeps_code(word):
                steps.code_may_have_changed()
        while exit.esr.EC != EC.STEP_LOWER:
            if timed_out(exit):
                stop = yield from self._let_interrupts_in()
                exit = steps.done
            else:
                stop, exit = yield from self._classified(exit)
            if stop is not None:
                return stop
        return steps.guard.stop()

    def _classified(
        self, exit: DebugExit, *, one_instruction: bool = False
    ) -> Generator[RunMode, DebugExit, tuple[Stopped | None, DebugExit]]:
        """Return the stop that *exit* comes to, or None and the exit of what was stepped over.

        *one_instruction*: step over no more than that, even if it begins an exclusive sequence.
        """
        pc = self._vcpu.get(PC)
        unasked = exit.esr.EC == EC.BREAKPOINT_LOWER and not self._breakpoints.comparator_at(pc)
        if unasked or timed_out(exit) or exit.esr.EC == EC.STEP_LOWER:
            stop = self._steps.guard.stop()
            if stop is not None or timed_out(exit):
                return stop or Stopped(self._index + 1), exit
        match self._classifier.classify(exit):
            case Disposition.REINJECT:
                # The step ends where hardware ends it: at the exception's vector.
                stop = self._reinject(exit) or self._steps.guard.stop()
                return stop or Stopped(self._index + 1), exit
            case Disposition.STEP_OVER:
                word = self._steps.word_at(pc)
                exit = yield from self._step_over.breakpoint(exit, one_instruction=one_instruction)
                if not keeps_code(word):
                    self._steps.code_may_have_changed()
                return None, exit
            case stopped:
                return stopped, exit

    def _let_interrupts_in(self) -> StopSubPlan:
        """Let the vCPU take an interrupt that pends, and run it until the handler goes back.

        The range that it is in is executed with interrupts masked, and takes long: it may wait for
        another vCPU, which waits for this one's handler. A stop in the handler is one; None: the
        vCPU is where it was, or one instruction further.
        """
        if (stop := self._steps.guard.stop()) is not None:
            return stop  # it goes round there
        self._steps.masked = 0
        exit, taken = yield from self._steps.let_interrupt_in()
        if taken:
            spsr = PSTATE(self._vcpu.get(SPSR_EL1))
            stack = self._vcpu.get(stack_pointer(spsr))
            back = ExecutionPoint(self._vcpu.get(ELR_EL1), spsr & _MODE, stack)
            return (yield from self._run(back) if self._has_room() else self._step_to(back))
        stop = None
        while stop is None and exit.esr.EC != EC.STEP_LOWER:
            stop, exit = yield from self._classified(exit)
        return stop

    def _has_room(self) -> bool:
        """Return True if there is a comparator for the place that a handler goes back to."""
        used = self._with_room(self._breakpoints.armed, 1 + len(self._step_over.loads))
        return len(used.breakpoints) < self._steps.breakpoint_slots

    def _step_to(self, until: ExecutionPoint) -> StopSubPlan:
        """Step until there is a stop to report, or the vCPU has come to the place *until*."""
        stop = None
        while stop is None and self._here() != until:
            stop = yield from self._piece(Range(0, 0))
        return stop

    def _is_compared(self, pc: int) -> bool:
        return breakpoint_at(pc) in self._breakpoints.armed.breakpoints
