"""Building blocks of plans: one instruction, and a sequence of instructions run to its exits.

A plan is a generator. It yields how its vCPU goes on, is sent the debug exit that follows, and
returns its result. It runs where the vCPU may be touched: on the vCPU's thread, and before and
after that on the server's.
"""

from collections.abc import Generator, Iterable
from typing import Final

from gdbstub.aarch64.comparators import breakpoint_at
from gdbstub.aarch64.exceptions import vector
from gdbstub.aarch64.instructions import WordAt, wait_is_nop, waits, waits_until
from gdbstub.aarch64.registers import (
    CPSR,
    ID_AA64ISAR2_EL1,
    PC,
    SCTLR_EL1,
    SPSR_EL1,
    VBAR_EL1,
)
from gdbstub.aarch64.sysreg import EC, ESR, PSTATE, SCTLR
from gdbstub.debug import stepping
from gdbstub.debug.breakpoints import Breakpoints
from gdbstub.debug.caches import Caches
from gdbstub.debug.instruction_cache import InstructionCache
from gdbstub.machine import DebugExit, DebugRegisters, Machine, RunMode
from gdbstub.target import Stopped

#: A plan from one stop to the next. It returns the stop.
ThreadPlan = Generator[RunMode, DebugExit, Stopped]
#: A part of a plan. It returns the debug exit that ended it.
SubPlan = Generator[RunMode, DebugExit, DebugExit]

RUN: Final = RunMode()
STEP: Final = RunMode(step=True)
#: A step that no comparator ends. BRK exits as always.
STEP_WITHOUT_COMPARATORS: Final = RunMode(step=True, debug=DebugRegisters(enabled=True))

# ID_AA64ISAR2_EL1.WFxT.
_WFXT, _HAS_WFXT = 0xF, 2


class CutShort(Exception):
    """Thrown into a plan that is not done when its vCPU is parked for another reason."""


class VcpuSteps:
    """Steps of one vCPU, and what is looked up for them."""

    def __init__(
        self, machine: Machine, index: int, breakpoints: Breakpoints, caches: Caches
    ) -> None:
        """Serve the vCPU with this *index* until the machine is reset."""
        self._machine = machine
        self._vcpu = machine.vcpus[index]
        self._breakpoints = breakpoints
        #: Let a step end at an interrupt's vector, as KVM's steps do.
        self.step_irqs = False
        #: Exit of a finished step, for an instruction whose effect was computed instead.
        self.done: Final = DebugExit(index, ESR(EC=EC.STEP_LOWER, IL=1))
        #: Words as RAM holds them, cached.
        self.icache: Final = InstructionCache(machine, breakpoints.memory, caches, index)
        #: Words as they are now, our BRKs hidden.
        self.word_at: Final[WordAt] = breakpoints.words(index)

    def instruction(self, mode: RunMode) -> SubPlan:
        """Execute one instruction. The exit may come before it."""
        vcpu = self._vcpu
        pc = vcpu.get(PC)
        if waits(self.icache(pc)) and self._is_nop(pc, mode):
            # KVM may wait inside for what would end the wait; a NOP it may be as well.
            vcpu.set(PC, pc + 4)
            vcpu.set(CPSR, PSTATE(vcpu.get(CPSR), BTYPE=0))
            return self.done
        if self.step_irqs:
            return (yield mode)
        step = stepping.begin(vcpu, pc)
        try:
            while True:
                exit = yield mode
                if exit.esr.EC != EC.STEP_LOWER:
                    stepping.abandon(vcpu, step, self.word_at)
                    return exit
                if not stepping.again(vcpu, step, self.word_at):
                    return exit
        except CutShort:
            stepping.abandon(vcpu, step, self.word_at)
            raise

    def _is_nop(self, pc: int, mode: RunMode) -> bool:
        """Return True if the WFI or WFE seen at *pc* is still there and may be stepped as a NOP."""
        vcpu, word = self._vcpu, self.icache.now(pc)
        pstate = PSTATE(vcpu.get(CPSR))
        if not wait_is_nop(word, pstate):
            return False
        if not pstate.EL and SCTLR(vcpu.get(SCTLR_EL1), nTWE=1, nTWI=1) != vcpu.get(SCTLR_EL1):
            return False  # the guest's kernel may have it trapped
        if waits_until(word) and vcpu.get(ID_AA64ISAR2_EL1) & _WFXT != _HAS_WFXT:
            return False
        armed = self._breakpoints.armed if mode.debug is None else mode.debug
        return breakpoint_at(pc) not in armed.breakpoints

    def exclusive(
        self,
        exits: tuple[int, ...],
        watchpoints: tuple[tuple[int, int], ...],
        stepped_over: int,
    ) -> SubPlan:
        """Run from the load-exclusive at PC to one of the *exits* of its sequence."""
        inside = range(self._vcpu.get(PC) + 4, exits[0], 4)
        return (yield from self.sequence(inside, exits, watchpoints, stepped_over))

    def sequence(
        self,
        inside: Iterable[int],
        exits: tuple[int, ...],
        watchpoints: tuple[tuple[int, int], ...],
        stepped_over: int | None = None,
    ) -> SubPlan:
        """Run the instructions *inside* to one of the *exits* with no debug exit between them.

        No comparator is set at the address *stepped_over*, whose breakpoint was classified.

        Interrupts are masked meanwhile: a store-exclusive would fail after a handler. An
        exception that the sequence itself takes ends it, too.
        """
        vcpu = self._vcpu
        pstate = PSTATE(vcpu.get(CPSR))
        fault = vcpu.get(VBAR_EL1) + vector(pstate)
        armed = self._breakpoints.armed.breakpoints
        # The vCPU executes nothing outside, so comparators of a client are needed inside only.
        places = {breakpoint_at(gva) for gva in inside if gva != stepped_over} if armed else ()
        ends = dict.fromkeys(breakpoint_at(gva) for gva in (*exits, fault))
        requested = [pair for pair in armed if pair in places]
        if len(ends) + len(requested) > self._machine.breakpoint_slots:
            return (yield from self.instruction(STEP))
        vcpu.set(CPSR, PSTATE(pstate, I=1, F=1))
        debug = DebugRegisters((*ends, *requested), watchpoints, enabled=True)
        try:
            exit = yield RunMode(debug=debug)
        except CutShort:
            self._unmask(pstate, fault)
            raise
        self._unmask(pstate, fault)
        at = vcpu.get(PC)
        if exit.esr.EC == EC.BREAKPOINT_LOWER and breakpoint_at(at) in ends:
            return self.done
        return exit

    def _unmask(self, before: PSTATE, fault: int) -> None:
        """Restore I and F in PSTATE, or in SPSR_EL1 where a fault has saved them."""
        vcpu = self._vcpu
        masked = SPSR_EL1 if vcpu.get(PC) == fault else CPSR
        vcpu.set(masked, PSTATE(vcpu.get(masked), I=before.I, F=before.F))
