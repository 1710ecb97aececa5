"""Execution plans: how a vCPU is continued or stepped between two stops that a client sees.

``vcpu_steps`` says what a plan is. ``step_over`` has the plan for a breakpoint that no client is
told of.
"""

from typing import Final

from gdbstub.aarch64.comparators import breakpoint_at
from gdbstub.aarch64.exceptions import vector
from gdbstub.aarch64.instructions import Region, exclusive_exits, keeps_code, plain, region
from gdbstub.aarch64.registers import CPSR, MDSCR_EL1, PC, VBAR_EL1
from gdbstub.aarch64.sysreg import EC, MDSCR, PSTATE
from gdbstub.debug.caches import Cache, Caches, Content
from gdbstub.debug.guest_exception import take_exception
from gdbstub.debug.step_over import StepOver
from gdbstub.debug.stop_reasons import Disposition, StopClassifier
from gdbstub.debug.vcpu_steps import RUN, STEP, ThreadPlan, VcpuSteps
from gdbstub.machine import DebugExit, Machine
from gdbstub.target import Action, Range, Stopped

#: Up to so many instructions are stepped as fast as run.
_FEW: Final = 6
_REGIONS: Final = 4096
#: In place of a region that is not to be run.
_STEPPED: Final = Region(frozenset(), (), loops=False)


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
        self._caches = caches
        self._steps = VcpuSteps(machine, index, classifier.breakpoints, caches)
        self._step_over = StepOver(machine, index, classifier, self._steps, caches)
        # By their first address, or _STEPPED. They depend on VBAR_EL1, MDSCR_EL1 and the
        # comparators as well, which do not change while a range is stepped.
        self._regions: Cache[int, Region] = caches.add(
            "regions",
            Content.REGISTERS | Content.CODE | Content.BREAKPOINTS,
            Cache(_REGIONS),
            vcpu=index,
        )

    def plan(self, action: Action | Range, *, step_irqs: bool) -> ThreadPlan:
        """Return the plan for *action*; *step_irqs*: a step may end at an interrupt's vector."""
        self._steps.step_irqs = step_irqs
        if isinstance(action, Range):
            return self.step_range(action)
        return self.step() if action is Action.STEP else self.continue_()

    def continue_(self) -> ThreadPlan:
        """Run until there is a stop to report."""
        exit = yield RUN
        while True:
            match self._classifier.classify(exit):
                case Disposition.REINJECT:
                    take_exception(self._vcpu, exit.esr, exit.far)
                    exit = yield RUN
                case Disposition.STEP_OVER:
                    exit = yield from self._step_over.breakpoint(exit)
                    if exit.esr.EC == EC.STEP_LOWER:
                        exit = yield RUN
                case stopped:
                    return stopped

    def step(self) -> ThreadPlan:
        """Execute one instruction.

        A store-exclusive that failed because of the stop before it is retried until it is done.
        Otherwise the guest would not get past a watchpoint on its word.
        """
        pc = self._vcpu.get(PC)
        word = self._steps.icache(pc)
        exit = yield from self._steps.instruction(STEP)
        if not plain(word):
            if exit.esr.EC == EC.STEP_LOWER and self._step_over.is_failed_store(pc):
                exit = yield from self._step_over.retry_store()
                self._code_may_have_changed()
            elif not keeps_code(word):
                self._code_may_have_changed()
        stop = self._classifier.classify(exit)
        return stop if isinstance(stop, Stopped) else (yield from self._finish_step(exit, stop))

    def step_range(self, range_: Range) -> ThreadPlan:
        """Step until PC is outside *range_* or there is a stop to report."""
        vcpu, steps = self._vcpu, self._steps
        pc = vcpu.get(PC)
        load = None  # a load-exclusive that was stepped: its store must fail
        while True:
            exits = exclusive_exits(pc, steps.word_at) if pc == load else ()
            watchpoints = self._breakpoints.armed.watchpoints
            if exits:
                exit = yield from steps.exclusive(exits, watchpoints, pc)
            elif (ahead := self._region_at(pc, range_)) is not _STEPPED:
                exit = yield from steps.sequence(ahead.inside, ahead.exits, watchpoints)
            else:
                word = steps.icache(pc)
                exit = yield from steps.instruction(STEP)
                if not keeps_code(word):
                    self._code_may_have_changed()
            if exit.esr.EC != EC.STEP_LOWER:
                return (yield from self._finish_step(exit, self._classifier.classify(exit)))
            if exit.esr.EX:
                load = pc
            pc = vcpu.get(PC)
            if not range_.start <= pc < range_.end:
                return Stopped(self._index + 1)

    def _region_at(self, pc: int, range_: Range) -> Region:
        """Return the region to run from *pc*, or _STEPPED if the instruction is to be stepped."""
        found = self._regions.get(pc)
        if found is not None:
            return found
        ahead, runs = self._ahead(pc, range_)
        if runs:
            self._regions.put(pc, ahead)
            return ahead
        for at in ahead.inside:
            if at not in self._regions:
                self._regions.put(at, _STEPPED)
        return _STEPPED

    def _ahead(self, pc: int, range_: Range) -> tuple[Region, bool]:
        """Return the region at *pc*, and True if running it shows no more than stepping it.

        Our comparators would take the place of the guest's own, so it is not run if the guest
        uses any.
        """
        vcpu, armed = self._vcpu, self._breakpoints.armed.breakpoints
        room = self._machine.breakpoint_slots - len(armed) - 1  # one for a fault
        ahead = region(pc, range(range_.start, range_.end), self._steps.icache, room)
        if self._steps.step_irqs or room < 1 or not (ahead.loops or len(ahead.inside) > _FEW):
            return ahead, False
        pstate, mdscr = PSTATE(vcpu.get(CPSR)), MDSCR(vcpu.get(MDSCR_EL1))
        if pstate.nRW or mdscr.MDE or mdscr.SS or breakpoint_at(pc) in armed:
            return ahead, False
        return ahead, vcpu.get(VBAR_EL1) + vector(pstate) not in ahead.inside

    def _finish_step(self, exit: DebugExit, stop: Stopped | Disposition) -> ThreadPlan:
        """Finish a step that ended with *exit*, which was classified as *stop*."""
        while stop is Disposition.STEP_OVER:
            word = self._steps.word_at(self._vcpu.get(PC))
            exit = yield from self._step_over.breakpoint(exit)
            if not keeps_code(word):
                self._code_may_have_changed()
            stop = self._classifier.classify(exit)
        if stop is Disposition.REINJECT:
            # The step ends where hardware ends it: at the exception's vector.
            take_exception(self._vcpu, exit.esr, exit.far)
            return Stopped(self._index + 1)
        return stop

    def _code_may_have_changed(self) -> None:
        self._caches.invalidate(Content.CODE, self._index)
