"""Building blocks of plans: one instruction, and a sequence of instructions run to its exits.

A plan is a generator. It yields how its vCPU goes on, is sent the debug exit that follows, and
returns its result. It runs where the vCPU may be touched: on the vCPU's thread, and before and
after that on the server's.
"""

from collections.abc import Collection, Generator
from typing import Final

from gdbstub.aarch64.comparators import breakpoint_at
from gdbstub.aarch64.exceptions import vector
from gdbstub.aarch64.instructions import (
    EXCEPTIONAL,
    SEQUENCE,
    WordAt,
    accesses_vbar,
    plain,
    takes_exception,
    wait_is_nop,
    waits,
    waits_until,
)
from gdbstub.aarch64.mmu import SMALLEST_PAGE
from gdbstub.aarch64.registers import (
    CPSR,
    ELR_EL1,
    ID_AA64ISAR2_EL1,
    PC,
    SCTLR_EL1,
    SPSR_EL1,
    VBAR_EL1,
)
from gdbstub.aarch64.sysreg import EC, ESR, PSTATE, SCTLR
from gdbstub.aarch64.walk import attributes
from gdbstub.debug import stepping
from gdbstub.debug.breakpoints import Breakpoints
from gdbstub.debug.caches import Caches, Content
from gdbstub.debug.instruction_cache import InstructionCache
from gdbstub.debug.vectors import VectorGuard
from gdbstub.errors import MemoryFault, StubError
from gdbstub.machine import TIMED_OUT, DebugExit, DebugRegisters, Machine, Power, RunMode
from gdbstub.target import Stopped

#: Controls and values of comparators.
Pairs = tuple[tuple[int, int], ...]
#: A plan from one stop to the next. It returns the stop.
ThreadPlan = Generator[RunMode, DebugExit, Stopped]
#: A part of a plan. It returns the debug exit that ended it.
SubPlan = Generator[RunMode, DebugExit, DebugExit]
#: A part of a plan that returns a stop to report, or None if the plan goes on.
StopSubPlan = Generator[RunMode, DebugExit, Stopped | None]

RUN: Final = RunMode()
STEP: Final = RunMode(step=True)
#: A run in which the machine passes over the false hits that it knows of.
PASS: Final = RunMode(passes=True)

#: Seconds that a sequence is run with interrupts masked before they are let in: a vCPU may wait
#: in it for another one, and that for this one's interrupt handler.
SEQUENCE_TIMEOUT: Final = 0.02

# ID_AA64ISAR2_EL1.WFxT.
_WFXT, _HAS_WFXT = 0xF, 2
_FOR_INTERRUPT: Final = 1 << 5  # of a word that waits: WFI or WFIT, not WFE or WFET
_MODE: Final = 0xF  # PSTATE.M[3:0], 0 at EL0
_AROUND: Final = 4 * SEQUENCE + 8  # bytes


class CutShort(Exception):
    """Thrown into a plan that is not done when its vCPU is parked for another reason."""


class VcpuSteps:
    """Sub-plans of one vCPU that execute one instruction, or a sequence of instructions."""

    def __init__(
        self, machine: Machine, index: int, breakpoints: Breakpoints, caches: Caches
    ) -> None:
        """Serve the vCPU with this *index* until the machine is reset."""
        self.breakpoint_slots: Final = machine.breakpoint_slots
        self.watchpoint_slots: Final = machine.watchpoint_slots
        self._index = index
        self._alone = len(machine.vcpus) == 1
        self._vcpu = vcpu = machine.vcpus[index]
        self._breakpoints = breakpoints
        self._caches = caches
        #: Let a step end at an interrupt's vector, as KVM's steps do.
        self.step_irqs = False
        # The last step, while the vCPU has executed nothing but plain instructions since. Those
        # leave alone what is remembered of it.
        self._last: stepping.SingleStep | None = None
        #: Number of sequences run and instructions stepped with interrupts masked.
        self.masked = 0
        #: Exit of a finished step, for an instruction whose effect was computed instead.
        self.done: Final = DebugExit(index, ESR.of(EC=EC.STEP_LOWER, IL=1))
        #: Words as RAM holds them, cached.
        self.icache: Final = InstructionCache(machine, breakpoints.memory, caches, index)
        #: Words as they are now, our BRKs hidden.
        self.word_at: Final[WordAt] = breakpoints.words(index)
        pstate = PSTATE(vcpu.get(CPSR))
        #: True if EL1 is AArch32, as a vCPU shows while it is new: it takes exceptions in
        #: another way.
        self.aarch32_el1: Final = bool(pstate.nRW and pstate & _MODE)
        #: The comparators for exception vectors that are not there.
        self.guard: Final = VectorGuard(machine, index, breakpoints, caches, self.aarch32_el1)

    def words_around(self, gva: int) -> WordAt:
        """Return ``word_at``, with the words of an exclusive sequence about *gva* read at once."""
        memory, page = self._breakpoints.memory.live, gva & -SMALLEST_PAGE
        start = max(page, gva - _AROUND)
        try:
            ipa = memory.translate(self._index, gva).ipa
            length = min(page + SMALLEST_PAGE, gva + _AROUND) - start
            data = memory.read_physical(ipa - (gva - start), length)
        except MemoryFault:
            return self.word_at
        if PSTATE(self._vcpu.get(CPSR)).nRW:
            return self.word_at

        def word_at(at: int) -> int:
            if start <= at <= start + len(data) - 4:
                return int.from_bytes(data[at - start : at - start + 4], "little")
            return self.word_at(at)

        return word_at

    def run(self, mode: RunMode) -> SubPlan:
        """Run freely; the guest may change its code and its vectors meanwhile."""
        try:
            return (yield mode)
        finally:
            self.code_may_have_changed()

    def code_may_have_changed(self) -> None:
        """Look instructions and vectors up again."""
        self._caches.invalidate(Content.CODE, self._index)
        self.forget()

    def forget(self) -> None:
        """Read system registers again: a client has written one, or the vCPU has run."""
        self._last = None

    def instruction(self, mode: RunMode, word: int | None = None) -> SubPlan:
        """Execute one instruction, *word* if that is known. The exit may come before it."""
        pc = self._vcpu.get(PC)
        return self.execute(mode, pc, self.icache(pc) if word is None else word, word)

    def execute(self, mode: RunMode, pc: int, cached: int, word: int | None = None) -> SubPlan:
        """Execute the instruction at *pc*, which the instruction cache has as *cached*.

        *word* is the instruction as it is now, if that is known.
        """
        if waits(cached) and self._is_nop(pc, mode, word):
            return self._do_nothing(pc)
        if not (takes_exception(cached) or PSTATE(self._vcpu.get(CPSR)) & EXCEPTIONAL):
            self.guard.near = pc
        elif missing := self.guard.places():
            return self._without_vectors(mode, pc, missing[:1])
        return self._step(mode, pc, cached)

    def _do_nothing(self, pc: int) -> SubPlan:
        yield from ()
        return self.do_nothing(pc)

    def _without_vectors(self, mode: RunMode, pc: int, missing: tuple[int, ...]) -> SubPlan:
        """Step the instruction at *pc*, which may take an exception to a vector that is *missing*.

        Meanwhile VBAR_EL1 leads to code, of which nothing is executed. KVM would go on into the
        handler of an exception that it makes itself, so a comparator is set on that.
        """
        vcpu = self._vcpu
        used = self._breakpoints.armed if mode.debug is None else mode.debug
        # A step comes to no other breakpoint, so there is room.
        here = tuple(pair for pair in used.breakpoints if pair == breakpoint_at(pc))
        used = used._replace(breakpoints=here, enabled=True)
        mode = mode._replace(debug=used)
        if (table := self.guard.table(pc)) is None:
            mode = mode._replace(more=self.additional(used, missing), limit=SEQUENCE_TIMEOUT)
            return (yield from self._step(mode, pc, 0))
        pstate, vbar = PSTATE(vcpu.get(CPSR)), vcpu.get(VBAR_EL1)
        more = self.additional(used, (table + vector(pstate),))
        entered = False
        vcpu.set(VBAR_EL1, table)
        self.forget()  # VBAR_EL1, of the step before
        try:
            exit = yield from self._step(mode._replace(more=more), pc, 0)
        finally:
            at = pc, pc + 4
            entered = stepping.entered_from(vcpu, at, pstate, masks_stay=False) is not None
            if entered:
                vcpu.set(PC, vcpu.get(PC) - table + vbar)
            vcpu.set(VBAR_EL1, vbar)
        return self.done if entered else exit

    def _step(self, mode: RunMode, pc: int, word: int) -> SubPlan:
        """Step the instruction *word* at *pc*; 0 if it is not known."""
        vcpu, last, self._last = self._vcpu, self._last, None
        if self.step_irqs or self.aarch32_el1:
            return (yield mode)
        step = stepping.begin(vcpu, pc, last)
        try:
            while True:
                exit = yield mode
                if timed_out(exit) and self.guard.stop() is None:
                    if vcpu.get(PC) == pc:
                        continue
                    exit = self.done  # a call of the hypervisor that has not come back, say
                if exit.esr.EC != EC.STEP_LOWER:
                    stepping.abandon(vcpu, step, self.word_at)
                    return exit
                if not stepping.must_repeat(vcpu, step, self.word_at):
                    if step.undisturbed and plain(word):
                        self._last = step
                    return exit
                self.masked += 1
        except CutShort:
            stepping.abandon(vcpu, step, self.word_at)
            raise

    def do_nothing(self, pc: int) -> DebugExit:
        """Be done with the instruction at *pc*, whose only effect is to clear PSTATE.BTYPE."""
        # KVM may wait in a WFI for what would end the wait; a NOP it may be as well.
        self._vcpu.set(PC, pc + 4)
        self._vcpu.set(CPSR, PSTATE(self._vcpu.get(CPSR)).replace(BTYPE=0))
        return self.done

    def additional(
        self,
        used: DebugRegisters,
        places: Collection[int],
        others: DebugRegisters = DebugRegisters(),  # noqa: B008 - immutable
    ) -> DebugRegisters:
        """Return comparators at *places*, and *others*, as far as slots last that are not *used*.

        There is none for an address that *used* has one for.
        """
        pairs = dict.fromkeys((*map(breakpoint_at, places), *others.breakpoints))
        breakpoints = [pair for pair in pairs if pair not in used.breakpoints]
        return DebugRegisters(
            tuple(breakpoints[: max(0, self.breakpoint_slots - len(used.breakpoints))]),
            others.watchpoints[: max(0, self.watchpoint_slots - len(used.watchpoints))],
        )

    def let_interrupt_in(self) -> Generator[RunMode, DebugExit, tuple[DebugExit, bool]]:
        """Execute one instruction, or take an interrupt that pends: the exit, and True for that."""
        step, self._last = stepping.begin(self._vcpu, self._vcpu.get(PC)), None
        exit = yield STEP
        if exit.esr.EC != EC.STEP_LOWER:
            return exit, False
        return exit, stepping.let_interrupt_in(self._vcpu, step, self.word_at)

    def is_skipped(self, word: int) -> bool:
        """Return True if the instruction *word* is a WFI or WFE to be done as a NOP."""
        return waits(word) and self._may_skip(word)

    def _is_nop(self, pc: int, mode: RunMode, word: int | None) -> bool:
        """Return True if the WFI or WFE seen at *pc* is still there and may be stepped as a NOP."""
        if not self._may_skip(self.icache.now(pc) if word is None else word):
            return False
        armed = self._breakpoints.armed if mode.debug is None else mode.debug
        return breakpoint_at(pc) not in armed.breakpoints

    def _may_skip(self, word: int) -> bool:
        """Return True if *word* is a WFI or WFE that is no exception now."""
        vcpu = self._vcpu
        pstate = PSTATE(vcpu.get(CPSR))
        if pstate.BTYPE and not self._is_guarded(vcpu.get(PC)):
            pstate = pstate.replace(BTYPE=0)  # of a branch, in whatever page it led to
        if not wait_is_nop(word, pstate):
            return False
        sctlr = SCTLR(vcpu.get(SCTLR_EL1))
        if not pstate.EL and not (sctlr.nTWI if word & _FOR_INTERRUPT else sctlr.nTWE):
            return False  # the guest's kernel may have it trapped
        return not waits_until(word) or vcpu.get(ID_AA64ISAR2_EL1) & _WFXT == _HAS_WFXT

    def _is_guarded(self, gva: int) -> bool:
        """Return True if *gva* may be in a guarded page: a branch must lead to a BTI there."""
        walk = self._breakpoints.memory.live.walk(self._index, gva)
        if walk.mapping is None:
            return True
        leaf = attributes(walk)
        return leaf is not None and bool(leaf.GP)

    def sequence(
        self,
        inside: Collection[int],
        exits: tuple[int, ...],
        watchpoints: Pairs,
        without: Collection[int] = (),
    ) -> SubPlan:
        """Run the instructions *inside* to one of the *exits* with no debug exit between them.

        PC is at one of them. No comparator is set at the addresses *without*, whose breakpoints
        were classified.

        Interrupts are masked meanwhile: a store-exclusive would fail after a handler. An
        exception that the sequence itself takes ends it, too, and so does an SError. The exit
        is ``TIMED_OUT`` where it takes longer than ``SEQUENCE_TIMEOUT``.
        """
        vcpu, self._last = self._vcpu, None
        pstate, vbar = PSTATE(vcpu.get(CPSR)), vcpu.get(VBAR_EL1)
        table = self._vectors(vbar, inside)
        fault = table + vector(pstate)
        armed = self._breakpoints.armed.breakpoints
        # The vCPU executes nothing outside, so comparators of a client are needed inside only.
        places = {breakpoint_at(at) for at in inside if at not in without} if armed else ()
        # Not where the sequence's own code lies at the vector's address: it would end there.
        vectors = [at for at in (fault, fault + stepping.SERROR) if at not in inside]
        ends = dict.fromkeys(map(breakpoint_at, exits))
        if fault in vectors:
            ends[breakpoint_at(fault)] = None
        requested = [pair for pair in armed if pair in places]
        spare = self.breakpoint_slots - len(ends) - len(requested)
        # One that is off begins anew when it is turned on, with masks of its own.
        if spare < 0 or (not self._alone and vcpu.power is Power.OFF):
            return (yield from self.instruction(STEP))
        masked = pstate.replace(I=1, F=1)
        if not pstate.A:
            if spare and fault + stepping.SERROR in vectors:
                ends[breakpoint_at(fault + stepping.SERROR)] = None
            else:
                masked = masked.replace(A=1)
        ways = {*inside, *exits}
        before = None
        if not {fault, fault + stepping.SERROR}.isdisjoint(exits):
            before = vcpu.get(ELR_EL1), vcpu.get(SPSR_EL1)
        vcpu.set(CPSR, masked)
        self.masked += 1
        debug = DebugRegisters((*ends, *requested), watchpoints, enabled=True)
        try:
            if table != vbar:
                vcpu.set(VBAR_EL1, table)
            exit = yield RunMode(debug=debug, limit=SEQUENCE_TIMEOUT)
        except (CutShort, StubError):  # the latter: VBAR_EL1 cannot be written
            self._end_run(ways, pstate, masked, before, (vbar, table))
            raise
        at = self._end_run(ways, pstate, masked, before, (vbar, table))
        if exit.esr.EC == EC.BREAKPOINT_LOWER and breakpoint_at(at) in ends:
            return self.done
        return exit

    def _vectors(self, vbar: int, inside: Collection[int]) -> int:
        """Return VBAR_EL1 for a run of the code *inside*: *vbar*, or code if that has no vectors.

        Of the code nothing is executed. A CPU may fetch from a vector before it compares.
        """
        if not self.guard.places():
            return vbar
        table = self.guard.table(self._vcpu.get(PC))
        if table is None or any(at & -stepping.TABLE_SIZE == table for at in inside):
            return vbar
        return vbar if any(accesses_vbar(self.icache(at)) for at in inside) else table

    def _end_run(
        self,
        ways: Collection[int],
        pstate: PSTATE,
        masked: PSTATE,
        before: tuple[int, int] | None,
        vectors: tuple[int, int],
    ) -> int:
        """Restore A, I and F in PSTATE, or in SPSR_EL1 where an exception has saved them.

        *vectors* are VBAR_EL1 of the guest and of the run. Return where it ended by the latter.
        """
        vcpu, (vbar, table) = self._vcpu, vectors
        at, row = vcpu.get(PC), CPSR
        # I and F are masked: what is at the vector of an interrupt is the guest's code.
        kind = stepping.entered_from(vcpu, ways, masked)
        if kind in (stepping.SYNCHRONOUS, stepping.SERROR):
            saved = vcpu.get(ELR_EL1), vcpu.get(SPSR_EL1)
            row = SPSR_EL1 if saved != before else CPSR
        try:
            vcpu.set(row, PSTATE(vcpu.get(row)).replace(A=pstate.A, I=pstate.I, F=pstate.F))
            if table != vbar and row is SPSR_EL1:
                vcpu.set(PC, at - table + vbar)
        finally:
            if table != vbar:
                vcpu.set(VBAR_EL1, vbar)
        return at


def timed_out(exit: DebugExit) -> bool:
    """Return True if *exit* came of ``RunMode.limit`` alone."""
    return exit.esr == TIMED_OUT
