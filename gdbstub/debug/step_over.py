"""Stepping over: the plan that executes an instruction in spite of the breakpoint on it.

It is for hits that no client is told of: a condition does not hold, the breakpoint is reported
already, a comparator watches more than was asked for, or the guest has its own masked. What is
stepped over is left out, that is all breakpoints at that one address, or the watchpoint
comparators of which the access is no hit. All else stays armed.

A debug exit clears the exclusive monitor, so an exclusive sequence is run to its end in one go,
from its load. Where there are breakpoints in it, a first lap is stepped: each condition is
evaluated where it is met, up to the store. If none of them stops, the registers are put back to
what they were at the load, and the sequence is run without them. No other vCPU executes from the
first lap to the end, so both laps are the same. What cannot be done twice (a store, a vector) is
done once: the store-exclusive is then executed as a plain store. A breakpoint that is met within a
sequence fails that sequence's store, as hardware may; its load is then met with a comparator, and
the next try begins there.
"""

from collections.abc import Collection, Iterable
from typing import Final

from gdbstub.aarch64.comparators import breakpoint_at
from gdbstub.aarch64.exclusives import goes_round
from gdbstub.aarch64.instructions import (
    ExclusiveSequence,
    calls_hypervisor,
    does_nothing,
    exclusive_sequence,
    is_repeatable,
    plain_store,
)
from gdbstub.aarch64.loads_stores import StoreExclusive
from gdbstub.aarch64.registers import CPSR, ELR_EL1, PC, X, stack_pointer
from gdbstub.aarch64.simulation import effect
from gdbstub.aarch64.sysreg import EC, PSTATE
from gdbstub.debug.false_hits import FalseHits
from gdbstub.debug.guest_comparators import GuestComparators
from gdbstub.debug.stop_reasons import Disposition, StopClassifier
from gdbstub.debug.vcpu_steps import (
    RUN,
    SEQUENCE_TIMEOUT,
    STEP,
    CutShort,
    Pairs,
    SubPlan,
    VcpuSteps,
    timed_out,
)
from gdbstub.machine import DebugExit, DebugRegisters, Machine, Power, RunMode
from gdbstub.target import Stopped

#: The most instructions of a first lap through a sequence, which may loop in itself.
_LAP: Final = 64


class BreakpointStop(Exception):
    """Raised by a part of a plan that comes to a breakpoint which stops, without a debug exit.

    It ends the whole plan with *stop*.
    """

    def __init__(self, stop: Stopped) -> None:
        super().__init__(stop.text)
        self.stop = stop


class StepOver:
    """Sub-plans of one vCPU that step over breakpoints and run exclusive sequences."""

    def __init__(
        self, machine: Machine, index: int, classifier: StopClassifier, steps: VcpuSteps
    ) -> None:
        """Serve the vCPU with this *index* until the machine is reset."""
        self._machine = machine
        self._index = index
        self._vcpu = machine.vcpus[index]
        self._breakpoints = classifier.breakpoints
        self._classifier = classifier
        self._steps = steps
        self._guest_comparators = GuestComparators(machine, index)
        #: Descriptions of what needs no plan any more.
        self.false_hits = FalseHits(machine, index, classifier, steps)
        # Address of the breakpoint that was classified last.
        self._classified: int | None = None
        #: By their loads: sequences whose load is to be met with a comparator, for their store has
        #: failed.
        self.loads: dict[int, ExclusiveSequence] = {}
        #: Load of the sequence that the breakpoint was in that was stepped over last.
        self.failed: int | None = None

    def breakpoint(self, exit: DebugExit, *, one_instruction: bool = False) -> SubPlan:
        """Execute the instruction whose breakpoint or watchpoint caused *exit*.

        If that begins an exclusive sequence, run all of it, unless *one_instruction* is asked for.
        Where that is cut short, the vCPU is still at the breakpoint.

        Raises:
            BreakpointStop: a breakpoint further on in an exclusive sequence stops.
        """
        pc = self._classified = self._vcpu.get(PC)
        self.failed = None
        try:
            done = yield from self._execute(exit, pc, one_instruction)
        except CutShort:
            if (here := self._vcpu.get(PC)) in (pc, self._classified):
                self._classifier.set_still_at(self._index, here)
            raise
        if done.esr.EC == EC.WATCHPOINT_LOWER:
            # The instruction is still to come, and a breakpoint on it has been classified.
            self._classifier.set_still_at(self._index, self._vcpu.get(PC))
        return done

    def comparator(self, pc: int) -> SubPlan:
        """Execute the instruction at *pc* in spite of a comparator there that nobody asked for."""
        return (yield from self._steps.instruction(self._mode(pc, (), hidden=False)))

    def _execute(self, exit: DebugExit, pc: int, one_instruction: bool) -> SubPlan:
        """Execute the instruction at *pc* (``breakpoint``)."""
        steps, ipa = self._steps, self._classifier.patch(self._index, pc)
        if exit.esr.EC == EC.BREAKPOINT_LOWER and not self._breakpoints.comparator_at(pc):
            # The guest's own, masked. A BRK of ours there is still to be met.
            return (yield from steps.instruction(self._mode(pc, (), hidden=True)))
        word_at = steps.words_around(pc)
        sequence = exclusive_sequence(pc, word_at)
        if sequence is not None and sequence.load == pc and not one_instruction:
            return (yield from self.sequence(sequence))
        if sequence is not None:
            self.loads[sequence.load] = sequence
            self.failed = sequence.load
        word = word_at(pc)
        if sequence is None and exit.esr.EC != EC.WATCHPOINT_LOWER:
            if not one_instruction:
                self._describe(exit, pc, word, ipa)
            if self._simulate(pc, word):
                return steps.done
            if steps.is_skipped(word):
                return steps.do_nothing(pc)
        if ipa is None or not calls_hypervisor(word):
            return (yield from self._without(ipa, self._instruction(pc, word, exit)))
        off = False

        def call() -> SubPlan:
            nonlocal off
            done = yield from self._instruction(pc, word, exit, SEQUENCE_TIMEOUT)
            off = self._vcpu.power is Power.OFF  # one of the others may turn it on at once
            return done

        done = yield from self._without(ipa, call())
        return (yield STEP) if off else done

    def _describe(self, exit: DebugExit, pc: int, word: int, ipa: int | None) -> None:
        """Describe the hit that *exit* is, if it may be passed over."""
        if (exit.esr.EC == EC.BRK64) != (ipa is not None) or self._guest_comparators.enabled():
            return
        here = breakpoint_at(pc)
        others = tuple(pair for pair in self._breakpoints.armed.breakpoints if pair != here)
        self.false_hits.describe(pc, word, ipa, others)

    def _instruction(
        self, pc: int, word: int, exit: DebugExit | None, limit: float | None = None
    ) -> SubPlan:
        """Step the instruction *word* at *pc*, our BRK there being out, and no comparator set."""
        hidden, fars = False, list[int]()
        while True:
            if exit is not None and exit.esr.EC == EC.WATCHPOINT_LOWER:
                fars.append(exit.far)
            mode = self._mode(pc, fars, hidden=hidden)._replace(limit=limit)
            exit = yield from self._steps.instruction(mode, word)
            if self._vcpu.get(PC) != pc or hidden:
                return exit
            if exit.esr.EC == EC.BREAKPOINT_LOWER:
                hidden = True  # the guest's own, which had its turn before ours
            elif (
                exit.esr.EC != EC.WATCHPOINT_LOWER
                or self._classifier.classify(exit) is not Disposition.STEP_OVER
            ):
                return exit

    def _mode(self, pc: int, fars: Collection[int], *, hidden: bool) -> RunMode:
        """Return the mode of a step without a breakpoint at *pc*, and with everything else.

        *fars* are those of watchpoint exits that are no hits. *hidden*: none of the guest's own
        comparators at *pc* either.
        """
        armed = self._breakpoints.armed
        if not (armed.breakpoints or armed.watchpoints or hidden or fars):
            return STEP
        here = breakpoint_at(pc)
        breakpoints = tuple(pair for pair in armed.breakpoints if pair != here)
        watchpoints = self._watchpoints(fars)
        if hidden or (fars and watchpoints == armed.watchpoints):
            more = self._guest_comparators.comparators()
            self._classifier.note_guest_comparators(self._index, more)
            room = self._machine.breakpoint_slots - len(breakpoints)
            own = [pair for pair in more.breakpoints if pair[1] != here[1]]
            # With any comparator in use KVM hides the guest's; this one is off.
            breakpoints = (*breakpoints, *own[:room]) or ((0, 0),)
            if not fars:
                room = self._machine.watchpoint_slots - len(watchpoints)
                watchpoints = (*watchpoints, *more.watchpoints[:room])
        return RunMode(step=True, debug=DebugRegisters(breakpoints, watchpoints, enabled=True))

    def _watchpoints(self, fars: Iterable[int] = ()) -> Pairs:
        """Return our watchpoint comparators, less those that PC's access triggers without a hit.

        *fars* are those of the exits to step over: one access may trigger several.
        """
        armed = self._breakpoints.armed.watchpoints
        if not armed:
            return ()
        accessed = self._classifier.accessed(self._index)
        pieces = [range(far, far + 1) for far in fars] if accessed is None else [accessed]
        excess = {pair for piece in pieces for pair in self._breakpoints.excess(piece)}
        return tuple(pair for pair in armed if pair not in excess)

    def _simulate(self, pc: int, word: int) -> bool:
        """Write the effect of the instruction *word* at *pc* into the vCPU; False if unknown."""
        vcpu = self._vcpu
        pstate = PSTATE(vcpu.get(CPSR))
        stack = stack_pointer(pstate)
        if does_nothing(word, pstate):
            if pstate.BTYPE:
                vcpu.set(CPSR, pstate.replace(BTYPE=0))
            vcpu.set(PC, pc + 4)
            return True
        found = effect(word, pc, pstate, lambda n: vcpu.get(X[n] if n < len(X) else stack))
        if found is None:
            return False
        if (n := found.register) is not None:
            vcpu.set(X[n] if n < len(X) else stack, found.value)
        vcpu.set(PC, found.pc)
        return True

    # Exclusive sequences.

    def sequence(self, sequence: ExclusiveSequence) -> SubPlan:
        """Run the *sequence* that begins at PC, where no breakpoint is to be classified.

        Raises:
            BreakpointStop: a breakpoint in it stops.
        """
        places = [at for at in sequence.inside if self.is_breakpoint(at)]
        if any(at != sequence.load for at in places) or self._hides_a_hit(sequence):
            return (yield from self._exclusively(self._laps(sequence, places)))
        ipa = self._classifier.patch(self._index, sequence.load)
        run = self._run(sequence, (ipa,), {sequence.load})
        return (yield from run if ipa is None else self._exclusively(run))

    def follow(self, load: int) -> SubPlan:
        """Step to the *load* of a sequence whose store has failed, if it is near, and run that.

        It is for a load that no comparator is left for. Breakpoints on the way are classified.

        Raises:
            BreakpointStop: one of them stops.
        """
        done = self._steps.done
        for _ in range(_LAP):
            if timed_out(done):
                break
            if done.esr.EC != EC.STEP_LOWER:
                match self._classifier.classify(done):
                    case Disposition.STEP_OVER:
                        pc = self._vcpu.get(PC)
                        done = yield from self._execute(done, pc, one_instruction=True)
                        continue
                    case Disposition.REINJECT:
                        break
                    case stop:
                        raise BreakpointStop(stop)
            pc = self._vcpu.get(PC)
            sequence = exclusive_sequence(pc, self._steps.words_around(pc))
            if sequence is None or sequence.load != pc or self.is_breakpoint(pc):
                done = yield from self._steps.instruction(STEP)
            else:
                done = yield from self.sequence(sequence)
            if pc == load:
                break
        return done

    def _hides_a_hit(self, sequence: ExclusiveSequence) -> bool:
        """Return True if a watchpoint left out for the load may be hit by what is behind it."""
        if self._watchpoints() == self._breakpoints.armed.watchpoints:
            return False
        word_at = self._steps.words_around(sequence.load)
        words = [word_at(at) for at in sequence.inside]
        if all(map(is_repeatable, words[1:-1])) or plain_store(words) is None:
            return False
        return not goes_round(sequence, word_at)  # a lap by steps is bounded

    def is_breakpoint(self, gva: int) -> bool:
        """Return True if a comparator or BRK of ours is at *gva*."""
        armed = self._breakpoints.armed.breakpoints
        return breakpoint_at(gva) in armed or self._classifier.patch(self._index, gva) is not None

    def _laps(self, sequence: ExclusiveSequence, places: Collection[int]) -> SubPlan:
        """Go through the *sequence* by steps, up to its store, and run it if nothing stops."""
        vcpu = self._vcpu
        rows = (*X, stack_pointer(vcpu.get(CPSR)), CPSR)
        before = [vcpu.get(row) for row in rows]
        words = [self._steps.word_at(at) for at in sequence.inside]
        loaded = self._classifier.accessed(self._index)
        done = yield from self._first_lap(sequence, places)
        if vcpu.get(PC) != sequence.store or done.esr.EC != EC.STEP_LOWER:
            return done  # it was left by another way, or goes round before its store
        if not all(map(is_repeatable, words[1:-1])):
            same = loaded == self._classifier.accessed(self._index)
            plain = plain_store(words) if same else None
            ipa = self._classifier.patch(self._index, sequence.store)
            return (yield from self._out((ipa,), self._store(words[-1], plain)))
        for row, value in zip(rows, before, strict=True):
            if vcpu.get(row) != value:
                vcpu.set(row, value)
        vcpu.set(PC, sequence.load)
        ipas = [self._classifier.patch(self._index, at) for at in places]
        found = tuple(ipa for ipa in ipas if ipa is not None)
        return (yield from self._run(sequence, found, places))

    def _first_lap(self, sequence: ExclusiveSequence, places: Collection[int]) -> SubPlan:
        """Step from the load to where the sequence is left, or to its store or load again."""
        done = self._steps.done
        for _ in range(_LAP):
            pc = self._vcpu.get(PC)
            ipa = self._classifier.patch(self._index, pc) if pc in places else None
            word = self._steps.word_at(pc)
            done = yield from self._out((ipa,), self._instruction(pc, word, None))
            pc = self._vcpu.get(PC)
            if done.esr.EC != EC.STEP_LOWER or pc not in sequence.inside or pc == sequence.load:
                break
            if pc in places:
                self._classified = pc
                if (stop := self._classifier.arrived(self._index, pc)) is not None:
                    raise BreakpointStop(stop)
            if pc == sequence.store:
                break
        return done

    def _store(self, exclusive: int, plain: int | None) -> SubPlan:
        """Step the store-exclusive at PC, in whose place there is a *plain* store meanwhile.

        It succeeds: no other vCPU has executed since the load that it belongs to.
        """
        vcpu, pc = self._vcpu, self._vcpu.get(PC)
        if plain is None:
            return (yield from self._instruction(pc, exclusive, None))
        ipa = self._breakpoints.memory.live.translate(self._index, pc).ipa
        status = StoreExclusive(exclusive).Rs
        before = vcpu.get(X[status]) if status < len(X) else 0
        if status < len(X):
            vcpu.set(X[status], 0)  # first: a guest that outlives this process must not store again
        try:
            self._machine.write_memory(ipa, plain.to_bytes(4, "little"), temporary=True)
            done = yield from self._instruction(pc, plain, None)
        finally:
            self._machine.write_memory(ipa, exclusive.to_bytes(4, "little"))
            at = vcpu.get(PC)
            if at not in (pc, pc + 4):
                at = vcpu.get(ELR_EL1)  # an exception that came after the store returns behind it
            if status < len(X) and at != pc + 4:
                vcpu.set(X[status], before)
        return done

    def _run(
        self, sequence: ExclusiveSequence, ipas: Iterable[int | None], without: Collection[int]
    ) -> SubPlan:
        """Run the *sequence* at PC in one go, *without* breakpoints there and BRKs at *ipas*."""
        watchpoints = self._watchpoints()
        body = self._steps.sequence(sequence.inside, sequence.exits, watchpoints, without)
        return (yield from self._out(ipas, body))

    # BRKs of ours.

    def _without(self, ipa: int | None, body: SubPlan) -> SubPlan:
        """Follow *body* with our BRK at *ipa*, if there is one, temporarily removed."""
        return (yield from body if ipa is None else self._exclusively(self._out((ipa,), body)))

    def _exclusively(self, body: SubPlan) -> SubPlan:
        """Follow *body* in an exclusive section: no other vCPU executes meanwhile."""
        if not self._machine.start_exclusive(self._index):
            body.close()
            return (yield RUN)  # all vCPUs are being parked, and the breakpoint will be hit again
        try:
            return (yield from body)
        finally:
            self._machine.end_exclusive(self._index)

    def _out(self, ipas: Iterable[int | None], body: SubPlan) -> SubPlan:
        """Follow *body* with our BRKs at *ipas* temporarily removed."""
        removed: list[int] = []
        try:
            for ipa in ipas:
                if ipa is not None:
                    removed.append(ipa)
                    self._breakpoints.remove_temporarily(ipa)
            return (yield from body)
        finally:
            for ipa in removed:
                self._breakpoints.reinsert(ipa)
