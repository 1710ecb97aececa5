"""What a vCPU does between two stops, of which nobody is told: the ways to continue and to step.

It starts nothing and speaks to nobody. A ``ThreadPlan`` yields how the vCPU goes on, is sent the
debug exit that came of it, and returns what to tell a client; it runs where the vCPU may be
touched: on its own thread, and before and after on the server's.
"""

from collections.abc import Generator, Iterable
from typing import Final

from gdbstub.aarch64.comparators import breakpoint_at
from gdbstub.aarch64.exceptions import vector
from gdbstub.aarch64.instructions import (
    SEQUENCE,
    Region,
    WordAt,
    does_nothing,
    exclusive_exits,
    keeps_code,
    loads_exclusive,
    plain,
    region,
    stores_exclusive,
    wait_is_nop,
    waits,
    waits_until,
)
from gdbstub.aarch64.registers import (
    CPSR,
    ID_AA64ISAR2_EL1,
    MDSCR_EL1,
    PC,
    SCTLR_EL1,
    SPSR_EL1,
    VBAR_EL1,
    X,
    stack_pointer,
)
from gdbstub.aarch64.simulation import effect
from gdbstub.aarch64.sysreg import EC, ESR, MDSCR, PSTATE, SCTLR
from gdbstub.debug import stepping
from gdbstub.debug.guest_exception import take_exception
from gdbstub.debug.instruction_cache import InstructionCache
from gdbstub.debug.stop_reasons import Disposition, StopClassifier
from gdbstub.machine import DebugExit, DebugRegisters, Machine, RunMode
from gdbstub.target import Range, Stopped

ThreadPlan = Generator[RunMode, DebugExit, Stopped]
SubPlan = Generator[RunMode, DebugExit, DebugExit]

_ON: Final = RunMode()
_STEP: Final = RunMode(step=True)
#: A step that no comparator ends. BRK exits as always.
_STEP_BARE: Final = RunMode(step=True, debug=DebugRegisters(enabled=True))

# ID_AA64ISAR2_EL1.WFxT.
_WFXT, _HAS_WFXT = 0xF, 2

#: So many instructions are stepped no slower than run.
_FEW: Final = 6

#: How many instructions a failed store-exclusive may be away from its next try.
_RETRY: Final = 64


class CutShort(Exception):
    """Thrown into a plan whose vCPU was parked for another reason, before it is done."""


class VcpuPlans:
    """The plans that one vCPU can take."""

    def __init__(self, machine: Machine, index: int, stops: StopClassifier) -> None:
        """For as long as that vCPU is there."""
        breakpoints = stops.breakpoints
        self._machine = machine
        self._index = index
        self._vcpu = machine.vcpus[index]
        self._breakpoints = breakpoints
        self._classifier = stops
        #: Let a step end at an interrupt's vector, as it does when left to KVM.
        self.step_irqs = False
        # What a step would have exited with that was done in another way.
        self._stepped = DebugExit(index, ESR(EC=EC.STEP_LOWER, IL=1))
        self._icache = InstructionCache(machine, breakpoints.memory, index)
        self._word_at: WordAt = breakpoints.words(index)
        self._loads: dict[int, int | None] = {}  # by PC: where its exclusive sequence begins

    def forget(self) -> None:
        """Something else than its own last step may have changed what this vCPU fetches."""
        self._icache.forget()
        self._loads.clear()

    # Each of these is a whole plan.

    def continue_(self) -> ThreadPlan:
        """Run until something is to be told."""
        exit = yield _ON
        while True:
            match self._classifier.classify(exit):
                case Disposition.REINJECT:
                    take_exception(self._vcpu, exit.esr, exit.far)
                    exit = yield _ON
                case Disposition.STEP_OVER:
                    exit = yield from self._pass_over(exit)
                    if exit.esr.EC == EC.STEP_LOWER:
                        exit = yield _ON
                case stopped:
                    return stopped

    def step(self) -> ThreadPlan:
        """Execute one instruction.

        A store-exclusive that failed because of the stop before it is one only when it is done:
        else a watchpoint on its word would be met for ever, and the guest get nowhere.
        """
        pc = self._vcpu.get(PC)
        word = self._icache(pc)
        exit = yield from self._instruction(_STEP)
        if not plain(word):
            if exit.esr.EC == EC.STEP_LOWER and self._failed_store(pc):
                exit = yield from self._retry()
            if not keeps_code(word):
                self.forget()
        stop = self._classifier.classify(exit)
        return stop if isinstance(stop, Stopped) else (yield from self._after(exit, stop))

    def step_range(self, range_: Range) -> ThreadPlan:
        """Step until the PC is outside, or something is to be told."""
        vcpu = self._vcpu
        pc = vcpu.get(PC)
        load = None  # a load-exclusive whose store, stepped to, must fail
        stepped: set[int] = set()  # such as could be run
        run: dict[int, Region] = {}  # by where they begin: those that are run
        while True:
            exits = exclusive_exits(pc, self._word_at) if pc == load else ()
            if not exits and pc not in stepped and pc not in run:
                ahead, runs = self._ahead(pc, range_)
                if runs:
                    run[pc] = ahead
                else:
                    stepped |= ahead.inside
            watchpoints = self._breakpoints.armed.watchpoints
            if exits:
                exit = yield from self._exclusive(exits, watchpoints, pc)
            elif pc in run:
                exit = yield from self._sequence(run[pc].inside, run[pc].exits, watchpoints)
            else:
                word = self._icache(pc)
                exit = yield from self._instruction(_STEP)
                if not keeps_code(word):
                    self.forget()
                    stepped.clear()
                    run.clear()
            if exit.esr.EC != EC.STEP_LOWER:
                return (yield from self._after(exit, self._classifier.classify(exit)))
            if exit.esr.EX:
                load = pc
            pc = vcpu.get(PC)
            if not range_.start <= pc < range_.end:
                return Stopped(self._index + 1)

    # What they are made of.

    def _ahead(self, pc: int, range_: Range) -> tuple[Region, bool]:
        """What a vCPU at *pc* may be let run through, and whether that shows as little as steps do.

        Comparators of ours would take the place of the guest's own, so not if it uses any.
        """
        vcpu, armed = self._vcpu, self._breakpoints.armed.breakpoints
        room = self._machine.breakpoint_slots - len(armed) - 1  # which is for a fault
        ahead = region(pc, range(range_.start, range_.end), self._icache, room)
        if self.step_irqs or room < 1 or not (ahead.loops or len(ahead.inside) > _FEW):
            return ahead, False
        pstate, mdscr = PSTATE(vcpu.get(CPSR)), MDSCR(vcpu.get(MDSCR_EL1))
        if pstate.nRW or mdscr.MDE or mdscr.SS or breakpoint_at(pc) in armed:
            return ahead, False
        return ahead, vcpu.get(VBAR_EL1) + vector(pstate) not in ahead.inside

    def _after(self, exit: DebugExit, stop: Stopped | Disposition) -> ThreadPlan:
        """What the *exit* that ended a step comes to, which was judged."""
        while stop is Disposition.STEP_OVER:
            exit = yield from self._pass_over(exit)
            stop = self._classifier.classify(exit)
        if stop is Disposition.REINJECT:
            # The step ends where hardware ends it: at the exception's vector.
            take_exception(self._vcpu, exit.esr, exit.far)
            return Stopped(self._index + 1)
        return stop

    def _instruction(self, go: RunMode) -> SubPlan:
        """Execute one instruction: the exit that ended it, perhaps before it."""
        vcpu = self._vcpu
        pc = vcpu.get(PC)
        if waits(self._icache(pc)) and self._is_nop(pc, go):
            # KVM may wait inside for what would end the wait; a NOP it may be as well.
            vcpu.set(PC, pc + 4)
            vcpu.set(CPSR, PSTATE(vcpu.get(CPSR), BTYPE=0))
            return self._stepped
        if self.step_irqs:
            return (yield go)
        step = stepping.begin(vcpu, pc)
        try:
            while True:
                exit = yield go
                if exit.esr.EC != EC.STEP_LOWER:
                    stepping.abandon(vcpu, step, self._word_at)
                    return exit
                if not stepping.again(vcpu, step, self._word_at):
                    return exit
        except CutShort:
            stepping.abandon(vcpu, step, self._word_at)
            raise

    def _is_nop(self, pc: int, go: RunMode) -> bool:
        """Whether the WFI or WFE that was seen at *pc* is there and may be stepped as a NOP."""
        vcpu, word = self._vcpu, self._icache.now(pc)
        pstate = PSTATE(vcpu.get(CPSR))
        if not wait_is_nop(word, pstate):
            return False
        if not pstate.EL and SCTLR(vcpu.get(SCTLR_EL1), nTWE=1, nTWI=1) != vcpu.get(SCTLR_EL1):
            return False  # the guest's kernel may have it trapped
        if waits_until(word) and vcpu.get(ID_AA64ISAR2_EL1) & _WFXT != _HAS_WFXT:
            return False
        armed = self._breakpoints.armed if go.debug is None else go.debug
        return breakpoint_at(pc) not in armed.breakpoints

    def _pass_over(self, exit: DebugExit) -> SubPlan:
        """Execute the instruction that caused *exit* silently."""
        pc = self._vcpu.get(PC)
        ipa = self._classifier.hit_at[self._index] if exit.esr.EC == EC.BRK64 else None
        try:
            return (yield from self._passing(exit, pc, ipa))
        except CutShort:
            if self._vcpu.get(PC) == pc:
                self._classifier.still_at(self._index, pc)
            raise

    def _passing(self, exit: DebugExit, pc: int, ipa: int | None) -> SubPlan:
        """*ipa*: where the BRK is that caused it, if one did."""
        ec = exit.esr.EC
        load = self._load_of(pc)
        if load == pc:
            return (yield from self._through(pc, ec))
        if load is None and ec != EC.WATCHPOINT_LOWER:
            word = self._word_at(pc) if ipa is None else self._breakpoints.original_word(ipa)
            if self._simulated(pc, word):
                return self._stepped
        done = yield from (
            self._instruction(_STEP_BARE) if ec != EC.BRK64 else self._out(ipa, pc, ())
        )
        # That has cleared the exclusive monitor, and would each time again.
        for _ in range(_RETRY if load is not None else 0):
            if done.esr.EC != EC.STEP_LOWER:
                break
            if self._vcpu.get(PC) == load:
                return (yield from self._through(pc, ec))
            done = yield from self._instruction(_STEP)
        return done

    def _simulated(self, pc: int, word: int) -> bool:
        """Whether the instruction *word* at *pc* is done, without having been executed."""
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
        """Where the exclusive sequence begins that *pc* is in."""
        if pc not in self._loads:
            at = pc
            while not loads_exclusive(self._word_at(at)) and pc - at < 4 * SEQUENCE:
                at -= 4
            exits = exclusive_exits(at, self._word_at) if loads_exclusive(self._word_at(at)) else ()
            self._loads[pc] = at if exits and pc < exits[0] else None
        return self._loads[pc]

    def _through(self, still_at: int, ec: int) -> SubPlan:
        """Run through the sequence that PC is at the beginning of, but for what is at *still_at*.

        *ec* says what that is. Watchpoints do not count where one of them is passed over: what
        a sequence accesses is one word.
        """
        exits = exclusive_exits(self._vcpu.get(PC), self._word_at)
        if ec == EC.BRK64:
            ipa = self._classifier.patch(self._index, still_at)
            return (yield from self._out(ipa, still_at, exits))
        watched = ec == EC.WATCHPOINT_LOWER
        watchpoints = () if watched else self._breakpoints.armed.watchpoints
        return (yield from self._exclusive(exits, watchpoints, still_at))

    def _out(self, ipa: int | None, place: int, exits: tuple[int, ...]) -> SubPlan:
        """Execute an instruction, or a sequence, with our BRK at *place*, *ipa*, out of RAM.

        No other vCPU may run by meanwhile.
        """
        if ipa is None or not self._machine.start_exclusive(self._index):
            return (yield _ON)  # it is not there any more; or all are to stop, and this comes again
        watchpoints = self._breakpoints.armed.watchpoints
        try:
            self._breakpoints.remove_temporarily(ipa)
            done = yield from (
                self._exclusive(exits, watchpoints, place)
                if exits
                else self._instruction(_STEP_BARE)
            )
        except Exception:  # cut short, or the machine failed
            self._lay(ipa)
            raise
        self._lay(ipa)
        return done

    def _lay(self, ipa: int) -> None:
        """Put our BRK back, and let the others run by it."""
        try:
            self._breakpoints.reinsert(ipa)
        finally:
            self._machine.end_exclusive(self._index)

    def _failed_store(self, pc: int) -> bool:
        """Whether the instruction at *pc*, just stepped, is a store-exclusive that said so."""
        word = self._icache(pc)
        if not stores_exclusive(word) or word != self._word_at(pc):
            return False
        status = word >> 16 & 0x1F
        return status < len(X) and self._vcpu.get(X[status]) == 1

    def _retry(self) -> SubPlan:
        """Follow a store-exclusive that had to fail to where its guest tries again, and succeed."""
        done = self._stepped
        for _ in range(_RETRY):
            pc = self._vcpu.get(PC)
            if self._load_of(pc) == pc:
                return (yield from self._through(pc, EC.WATCHPOINT_LOWER))
            done = yield from self._instruction(_STEP)
            if done.esr.EC != EC.STEP_LOWER:
                break
        return done

    def _exclusive(
        self, exits: tuple[int, ...], watchpoints: tuple[tuple[int, int], ...], but: int
    ) -> SubPlan:
        """Run from a load-exclusive to one of the *exits* of its sequence."""
        inside = range(self._vcpu.get(PC) + 4, exits[0], 4)
        return (yield from self._sequence(inside, exits, watchpoints, but))

    def _sequence(
        self,
        inside: Iterable[int],
        exits: tuple[int, ...],
        watchpoints: tuple[tuple[int, int], ...],
        but: int | None = None,
    ) -> SubPlan:
        """Run through the instructions *inside* to one of the *exits*, without a break.

        A comparator does not count at the place *but*, which has been judged.

        Interrupts are masked meanwhile: behind their handlers an exclusive store would fail.
        A fault of the sequence's own ends it, too.
        """
        vcpu = self._vcpu
        pstate = PSTATE(vcpu.get(CPSR))
        fault = vcpu.get(VBAR_EL1) + vector(pstate)
        armed = self._breakpoints.armed.breakpoints
        # A client's comparators count inside only; elsewhere the vCPU does not come.
        places = {breakpoint_at(gva) for gva in inside if gva != but} if armed else ()
        stops = dict.fromkeys(breakpoint_at(gva) for gva in (*exits, fault))
        asked = [pair for pair in armed if pair in places]
        if len(stops) + len(asked) > self._machine.breakpoint_slots:
            return (yield from self._instruction(_STEP))
        vcpu.set(CPSR, PSTATE(pstate, I=1, F=1))
        try:
            exit = yield RunMode(debug=DebugRegisters((*stops, *asked), watchpoints, enabled=True))
        except CutShort:
            self._unmask(pstate, fault)
            raise
        self._unmask(pstate, fault)
        at = vcpu.get(PC)
        if exit.esr.EC == EC.BREAKPOINT_LOWER and breakpoint_at(at) in stops:
            return self._stepped
        return exit

    def _unmask(self, before: PSTATE, fault: int) -> None:
        """Put interrupt masks back, or into what a fault has saved of them."""
        vcpu = self._vcpu
        masked = SPSR_EL1 if vcpu.get(PC) == fault else CPSR
        vcpu.set(masked, PSTATE(vcpu.get(masked), I=before.I, F=before.F))
