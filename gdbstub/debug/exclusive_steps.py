"""Steps of exclusive loads and stores that have to be more than one instruction.

A debug exit clears the exclusive monitor. So a store-exclusive fails after each stop before it,
and behind a stop at its load. A client steps off a watchpoint before it continues: on a word that
the guest accesses by exclusive loads and stores the watchpoint would stop for ever, with the same
value. The step from such a stop therefore goes on until the store is done, where it can.
"""

from collections.abc import Generator
from typing import Final

from gdbstub.aarch64.exclusives import only_computes, only_loads, way_back
from gdbstub.aarch64.instructions import (
    ExclusiveSequence,
    exclusive_sequence,
    leads_to,
    loads_exclusive,
    stores_exclusive,
)
from gdbstub.aarch64.loads_stores import StoreExclusive
from gdbstub.aarch64.registers import CPSR, PC, X, stack_pointer
from gdbstub.aarch64.sysreg import EC
from gdbstub.debug.step_over import BreakpointStop, StepOver
from gdbstub.debug.stop_reasons import StopClassifier
from gdbstub.debug.vcpu_steps import STEP, SubPlan, VcpuSteps
from gdbstub.errors import MemoryFault
from gdbstub.machine import DebugExit, RunMode, Vcpu

#: The most instructions from a store-exclusive that has failed to its load. A back-off loop of a
#: hundred laps has 200.
_FAR: Final = 256
#: The most times that a sequence is tried.
_TRIES: Final = 4


class ExclusiveSteps:
    """Sub-plans of one vCPU for the instructions of exclusive sequences."""

    def __init__(
        self, vcpu: Vcpu, index: int, classifier: StopClassifier, step_over: StepOver,
        steps: VcpuSteps,
    ) -> None:  # fmt: skip
        """Serve *vcpu*, which has this *index*, until the machine is reset."""
        self._vcpu = vcpu
        self._index = index
        self._classifier = classifier
        self._step_over = step_over
        self._steps = steps

    def met(self, pc: int) -> SubPlan:
        """Run the sequence whose load is at *pc*, where no breakpoint was classified yet.

        Raises:
            BreakpointStop: a breakpoint there, or in the sequence, stops.
        """
        if (stop := self._classifier.arrived(self._index, pc)) is not None:
            raise BreakpointStop(stop)
        return (yield from self.sequence_at(pc))

    def sequence_at(self, pc: int) -> SubPlan:
        """Run the exclusive sequence that begins at *pc*, or step where none does any more."""
        sequence = exclusive_sequence(pc, self._steps.words_around(pc))
        if sequence is None or sequence.load != pc:
            self._step_over.loads.pop(pc, None)
            return (yield from self._step_over.comparator(pc))
        return (yield from self._step_over.sequence(sequence))

    def watched(self, pc: int) -> ExclusiveSequence | None:
        """Return the sequence that the exclusive access at *pc* begins or ends; None if of none."""
        word_at = self._steps.words_around(pc)
        if not (loads_exclusive(word := word_at(pc)) or stores_exclusive(word)):
            return None
        sequence = exclusive_sequence(pc, word_at)
        return sequence if sequence and pc in (sequence.load, sequence.store) else None

    def finish(self, sequence: ExclusiveSequence) -> SubPlan:
        """Have the guest try again while the store of *sequence*, done just now, fails.

        An interrupt of the host fails it as well.
        """
        done = self._steps.done
        for _ in range(_TRIES):
            if not self.has_failed(sequence):
                break
            done, tried = yield from self._try_again(sequence)
            if not tried or done.esr.EC != EC.STEP_LOWER:
                break
        return done

    def has_failed(self, sequence: ExclusiveSequence) -> bool:
        """Return True if the vCPU is behind the store of *sequence*, which has failed."""
        status = StoreExclusive(self._steps.word_at(sequence.store)).Rs
        behind = self._vcpu.get(PC) == sequence.store + 4
        return behind and status < len(X) and self._vcpu.get(X[status]) == 1

    def _try_again(
        self, sequence: ExclusiveSequence
    ) -> Generator[RunMode, DebugExit, tuple[DebugExit, bool]]:
        """Go on to the load of *sequence* and run it, if it loads the word that was to be stored.

        Returns the last exit, and True if the sequence was run.

        Where the store's status alone decides the way, all of it is executed. Otherwise it is
        tried: if it does not lead there by computations, branches and loads of RAM, or comes to a
        breakpoint, it is undone. An exception on the way ends the step at its vector.
        """
        vcpu, done = self._vcpu, self._steps.done
        stored = self._classifier.accessed(self._index, sequence.store)
        sure = way_back(sequence, self._steps.word_at)
        rows = (*X, stack_pointer(vcpu.get(CPSR)), CPSR, PC)
        before, can_undo = [vcpu.get(row) for row in rows], True
        for _ in range(_FAR):
            pc = vcpu.get(PC)
            if pc == sequence.load:
                if self._classifier.accessed(self._index) != stored:
                    break
                return (yield from self.met(pc)), True
            word = self._steps.word_at(pc)
            harmless = self._is_harmless(word)
            if not harmless and pc not in sure:
                break
            if can_undo and self._step_over.is_breakpoint(pc):
                break
            can_undo = can_undo and harmless
            done = yield from self._steps.instruction(STEP, word)
            if done.esr.EC != EC.STEP_LOWER or not self._went_on(word, pc):
                return done, False
        if can_undo:
            for row, value in zip(rows, before, strict=True):
                if vcpu.get(row) != value:
                    vcpu.set(row, value)
        return self._steps.done, False

    def _went_on(self, word: int, pc: int) -> bool:
        """Return True if the step of *word* at *pc* was no exception."""
        return leads_to(word, pc, self._vcpu.get(PC), lambda n: self._vcpu.get(X[n]))

    def _is_harmless(self, word: int) -> bool:
        """Return True if *word*, at PC, has no effect that is seen from outside the vCPU.

        A load of a device may have one.
        """
        if only_computes(word):
            return True
        if not only_loads(word) or (place := self._classifier.accessed(self._index)) is None:
            return False
        memory = self._classifier.breakpoints.memory.live
        try:
            for at in (place.start, place.stop - 1) if place else ():
                memory.read_physical(memory.translate(self._index, at).ipa, 1)
        except MemoryFault:
            return False
        return True
