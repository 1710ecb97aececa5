"""Stepping over: the plan that executes an instruction in spite of the breakpoint on it.

It is for hits that no client is told of: a condition does not hold, the breakpoint is reported
already, or a comparator watches more than was asked for. An exclusive sequence is run to its end
in one go, because a debug exit clears the exclusive monitor.
"""

from typing import Final

from gdbstub.aarch64.instructions import (
    SEQUENCE,
    does_nothing,
    exclusive_exits,
    loads_exclusive,
    stores_exclusive,
)
from gdbstub.aarch64.registers import CPSR, PC, X, stack_pointer
from gdbstub.aarch64.simulation import effect
from gdbstub.aarch64.sysreg import EC, PSTATE
from gdbstub.debug.caches import Cache, Caches, Content
from gdbstub.debug.stop_reasons import StopClassifier
from gdbstub.debug.vcpu_steps import (
    RUN,
    STEP,
    STEP_WITHOUT_COMPARATORS,
    CutShort,
    SubPlan,
    VcpuSteps,
)
from gdbstub.machine import DebugExit, Machine

#: The most instructions from a failed store-exclusive to its next try.
_RETRY: Final = 64
_SEQUENCES: Final = 4096
_NO_SEQUENCE: Final = -1


class StepOver:
    """Sub-plans of one vCPU that step over breakpoints and retry exclusive sequences."""

    def __init__(
        self,
        machine: Machine,
        index: int,
        classifier: StopClassifier,
        steps: VcpuSteps,
        caches: Caches,
    ) -> None:
        """Serve the vCPU with this *index* until the machine is reset."""
        self._machine = machine
        self._index = index
        self._vcpu = machine.vcpus[index]
        self._breakpoints = classifier.breakpoints
        self._classifier = classifier
        self._steps = steps
        # By PC: the load-exclusive that begins the sequence it is in, or _NO_SEQUENCE.
        self._loads: Cache[int, int] = caches.add(
            "exclusive sequences", Content.CODE, Cache(_SEQUENCES), vcpu=index
        )

    def breakpoint(self, exit: DebugExit) -> SubPlan:
        """Execute the instruction whose breakpoint or watchpoint caused *exit*.

        Where that is cut short, the vCPU is still at the breakpoint.
        """
        pc = self._vcpu.get(PC)
        ipa = self._classifier.hit_at[self._index] if exit.esr.EC == EC.BRK64 else None
        try:
            return (yield from self._execute(exit, pc, ipa))
        except CutShort:
            if self._vcpu.get(PC) == pc:
                self._classifier.set_still_at(self._index, pc)
            raise

    def _execute(self, exit: DebugExit, pc: int, ipa: int | None) -> SubPlan:
        """Execute the instruction at *pc*. *ipa* is the address of the BRK that caused *exit*."""
        ec = exit.esr.EC
        steps = self._steps
        load = self._load_of(pc)
        if load == pc:
            return (yield from self._sequence(pc, ec))
        if load is None and ec != EC.WATCHPOINT_LOWER:
            word = steps.word_at(pc) if ipa is None else self._breakpoints.original_word(ipa)
            if self._simulate(pc, word):
                return steps.done
        done = yield from (
            steps.instruction(STEP_WITHOUT_COMPARATORS)
            if ec != EC.BRK64
            else self._without_brk(ipa, pc, ())
        )
        # That exit has cleared the exclusive monitor, and would each time.
        for _ in range(_RETRY if load is not None else 0):
            if done.esr.EC != EC.STEP_LOWER:
                break
            if self._vcpu.get(PC) == load:
                return (yield from self._sequence(pc, ec))
            done = yield from steps.instruction(STEP)
        return done

    def _simulate(self, pc: int, word: int) -> bool:
        """Write the effect of the instruction *word* at *pc* into the vCPU; False if unknown."""
        vcpu = self._vcpu
        pstate = PSTATE(vcpu.get(CPSR))
        stack = stack_pointer(pstate)
        if does_nothing(word, pstate):
            if pstate.BTYPE:
                vcpu.set(CPSR, PSTATE(pstate, BTYPE=0))
            vcpu.set(PC, pc + 4)
            return True
        found = effect(word, pc, pstate, lambda n: vcpu.get(X[n] if n < len(X) else stack))
        if found is None:
            return False
        if (n := found.register) is not None:
            vcpu.set(X[n] if n < len(X) else stack, found.value)
        vcpu.set(PC, found.pc)
        return True

    def _load_of(self, pc: int) -> int | None:
        """Return the address of the load-exclusive whose sequence *pc* is in, None if in none."""
        load = self._loads.get(pc)
        if load is None:
            word_at, at = self._steps.word_at, pc
            while not loads_exclusive(word_at(at)) and pc - at < 4 * SEQUENCE:
                at -= 4
            exits = exclusive_exits(at, word_at) if loads_exclusive(word_at(at)) else ()
            load = at if exits and pc < exits[0] else _NO_SEQUENCE
            self._loads.put(pc, load)
        return None if load == _NO_SEQUENCE else load

    def _sequence(self, stepped_over: int, ec: int) -> SubPlan:
        """Run the exclusive sequence that begins at PC, over what is at *stepped_over*.

        *ec* is the exception class of the exit there. A watchpoint's turns all watchpoints off:
        a sequence accesses one word.
        """
        exits = exclusive_exits(self._vcpu.get(PC), self._steps.word_at)
        if ec == EC.BRK64:
            ipa = self._classifier.patch(self._index, stepped_over)
            return (yield from self._without_brk(ipa, stepped_over, exits))
        watched = ec == EC.WATCHPOINT_LOWER
        watchpoints = () if watched else self._breakpoints.armed.watchpoints
        return (yield from self._steps.exclusive(exits, watchpoints, stepped_over))

    def _without_brk(self, ipa: int | None, gva: int, exits: tuple[int, ...]) -> SubPlan:
        """Execute the instruction at PC with our BRK at *gva*, *ipa*, temporarily removed.

        Run the sequence at PC if that has *exits*. No other vCPU executes meanwhile.
        """
        if ipa is None or not self._machine.start_exclusive(self._index):
            # The BRK is gone. Or all vCPUs are being parked, and the BRK will be hit again.
            return (yield RUN)
        watchpoints = self._breakpoints.armed.watchpoints
        try:
            self._breakpoints.remove_temporarily(ipa)
            done = yield from (
                self._steps.exclusive(exits, watchpoints, gva)
                if exits
                else self._steps.instruction(STEP_WITHOUT_COMPARATORS)
            )
        except Exception:  # cut short, or the machine failed
            self._reinsert(ipa)
            raise
        self._reinsert(ipa)
        return done

    def _reinsert(self, ipa: int) -> None:
        """Put our BRK back and let the other vCPUs execute."""
        try:
            self._breakpoints.reinsert(ipa)
        finally:
            self._machine.end_exclusive(self._index)

    def is_failed_store(self, pc: int) -> bool:
        """Return True if the instruction just stepped at *pc* is a failed store-exclusive."""
        word = self._steps.icache(pc)
        if not stores_exclusive(word) or word != self._steps.word_at(pc):
            return False
        status = word >> 16 & 0x1F
        return status < len(X) and self._vcpu.get(X[status]) == 1

    def retry_store(self) -> SubPlan:
        """Follow a failed store-exclusive to where the guest tries again, and run that sequence."""
        done = self._steps.done
        for _ in range(_RETRY):
            pc = self._vcpu.get(PC)
            if self._load_of(pc) == pc:
                return (yield from self._sequence(pc, EC.WATCHPOINT_LOWER))
            done = yield from self._steps.instruction(STEP)
            if done.esr.EC != EC.STEP_LOWER:
                break
        return done
