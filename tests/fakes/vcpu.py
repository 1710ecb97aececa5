"""One vCPU as KVM shows it with guest debug on: instructions in, exits out.

What each stepped instruction must yield is measured, in arm64 KVM; threads are not its
business.
"""

from collections.abc import Callable, Sequence
from typing import Final

from gdbstub.aarch64.registers import CNTVCT_EL0, PC, X
from gdbstub.aarch64.sysreg import ESR
from gdbstub.architecture import Register
from gdbstub.machine import (
    DebugExit,
    DebugRegisters,
    Exit,
    Power,
    RunFailure,
    SystemEvent,
    SystemEventKind,
)
from tests.fakes import exceptions
from tests.fakes.clock import Clock
from tests.fakes.debug import Access, Comparators, at_breakpoint, stepped
from tests.fakes.device import Device
from tests.fakes.engine import Cause, Engine, EngineError, Trap
from tests.fakes.ram import Ram

_EXCLUSIVE: Final = 0x3F00_0000, 0x0800_0000
_LOAD: Final = 1 << 22
_ORDERED_ONLY: Final = 1 << 23  # LDAR, STLR, CAS: no monitor
#: The most instructions after a debug exit that are looked at for a store-exclusive.
_SEQUENCE: Final = 64

Hvc = Callable[["FakeVcpu"], SystemEventKind | None]


class FakeVcpu:
    """A ``gdbstub.machine.Vcpu`` that executes for real."""

    #: Instructions that one turn takes, and one in which each is looked at: both well under a
    #: millisecond.
    turn_length = 20_000
    slow_turn_length = 100
    #: A fetch that fails comes before a breakpoint on its address.
    fetches_first = False

    def __init__(
        self, index: int, ram: Ram, clock: Clock, hvc: Hvc, device: Device | None = None
    ) -> None:
        self.index = index
        self.power = Power.OFF if index else Power.ON
        #: An interrupt that stays pending; taken when PSTATE.I lets it.
        self.irq = False
        #: A stepped instruction that unmasks the interrupt is followed by that, and then by the
        #: step's exception, as the architecture permits.
        self.irq_before_step = False
        #: The same with an SError.
        self.serror_before_step = False
        #: An SError that pends once; taken when PSTATE.A lets it.
        self.serror = False
        self._called = False
        # Instructions to look at since a debug exit, which has cleared the exclusive monitor.
        self._cleared = 0
        self._hvc = hvc
        self._ram = ram
        self._clock = clock
        self._device = device
        self._comparators = Comparators()
        self.reset()

    def reset(self) -> None:
        """All registers as they are after VCPU_INIT; comparators stay, as KVM's do."""
        self._engine = Engine(self._ram, 1 << 31 | self.index, self._clock, self._device)
        self._engine.watch(self._comparators.watching)

    def get(self, register: Register) -> int:
        if register is CNTVCT_EL0:
            return self._clock.read()
        return self._engine.registers.get(register)

    def set(self, register: Register, value: int) -> None:
        if register is CNTVCT_EL0:
            self._clock.write(value)
        else:
            self._engine.registers.set(register, value)

    def arm(self, debug: DebugRegisters) -> None:
        self._comparators = Comparators(debug)
        self._engine.watch(self._comparators.watching)

    @property
    def accesses(self) -> Sequence[Access]:
        """The last instruction's accesses to memory, recorded while watchpoints are armed."""
        return self._engine.accesses

    def forget_code(self, ipa: int, length: int) -> None:
        self._engine.forget_code(ipa, length)

    def turn(self, *, step: bool) -> Exit | None:
        """Execute for a while, or one instruction: the exit that ended it, if one did."""
        self._called = False
        try:
            if step:
                return self._instruction(step=True)
            # A device may have an interrupt pend at any instruction.
            looked_at = self._comparators.armed or self._device is not None
            if not (looked_at or self._cleared or self.irq or self.serror or self._illegal()):
                return self._handle(
                    self._engine.execute(self.turn_length), exits=self._comparators.exits
                )
            for _ in range(self.slow_turn_length):
                if (exit := self._instruction(step=False)) or self.power is Power.OFF:
                    return exit
                if self._called:
                    break  # a call of the hypervisor ends a turn, whatever is armed
        except EngineError as error:
            return RunFailure(self.index, str(error))
        return None

    def _instruction(self, *, step: bool) -> Exit | None:
        """One instruction, seen by comparators, interrupts and the step."""
        engine, comparators = self._engine, self._comparators
        pc, pstate = engine.registers.pc, engine.registers.pstate
        if self.irq and not pstate.I:
            exceptions.enter(engine.registers, back=pc, esr=None)
            if not step:
                return None
            exceptions.leak_step(engine.registers)
            return self._debug_exit(stepped(trapped=False, exclusive=False))
        if self.serror and not pstate.A:
            self._take_serror()
            if not step:
                return None
            exceptions.leak_step(engine.registers)
            return self._debug_exit(stepped(trapped=False, exclusive=False))
        fetched = not self.fetches_first or engine.fetches
        if fetched and comparators.breaks_at(pc, pstate.EL):
            return self._debug_exit(at_breakpoint())
        if pstate.IL:
            exceptions.enter(engine.registers, back=pc, esr=exceptions.ILLEGAL)
            if not step:
                return None
            return self._debug_exit(stepped(trapped=False, exclusive=False))
        word = engine.word()
        exclusive = word & _EXCLUSIVE[0] == _EXCLUSIVE[1] and not word & _ORDERED_ONLY
        if comparators.watching:
            engine.remember()
        cleared, self._cleared = step or self._cleared > 0, max(0, self._cleared - 1)
        if exclusive:
            self._cleared = 0
        if cleared and exclusive and not word & _LOAD:
            trap = None
            self._fail_store(word)
        else:
            trap = engine.execute(1)
        if hit := comparators.watched(engine.accesses, pstate.EL):
            engine.undo()
            return self._debug_exit(*hit)
        exit = self._handle(trap, exits=step or comparators.exits)
        if exit is None and step and self.power is Power.ON:
            trapped = trap is not None and trap.cause is Cause.HVC
            loaded = exclusive and bool(word & _LOAD)
            if self.irq_before_step and self.irq and not engine.registers.pstate.I:
                exceptions.enter(engine.registers, back=engine.registers.pc, esr=None)
            if self.serror_before_step and self.serror and not engine.registers.pstate.A:
                self._take_serror()
            return self._debug_exit(stepped(trapped=trapped, exclusive=loaded))
        return exit

    def _take_serror(self) -> None:
        self.serror = False
        registers, vector = self._engine.registers, exceptions.SERROR_VECTOR
        exceptions.enter(registers, back=registers.pc, esr=exceptions.SERROR, vector=vector)

    def _illegal(self) -> bool:
        """Return True if PSTATE.IL is set, which Unicorn does not know."""
        return bool(self._engine.registers.pstate.IL)

    def _debug_exit(self, esr: ESR, far: int = 0) -> DebugExit:
        self._cleared = _SEQUENCE
        return DebugExit(self.index, esr, far)

    def _fail_store(self, word: int) -> None:
        """The exception return after each debug exit has cleared the exclusive monitor."""
        self._engine.accesses.clear()
        if (status := word >> 16 & 31) < len(X):
            self.set(X[status], 1)
        self.set(PC, self.get(PC) + 4)

    def _handle(self, trap: Trap | None, *, exits: bool) -> Exit | None:
        """Turn a trap into an exit to the debugger, or into an exception of the guest."""
        if trap is None:
            return None
        registers = self._engine.registers
        match trap.cause:
            case Cause.BRK if exits:
                return self._debug_exit(ESR(exceptions.BRK | trap.value))
            case Cause.BRK:
                exceptions.enter(registers, back=registers.pc, esr=exceptions.BRK | trap.value)
            case Cause.SVC:
                exceptions.enter(registers, back=registers.pc, esr=exceptions.SVC | trap.value)
            case Cause.UNDEFINED:
                exceptions.enter(registers, back=registers.pc, esr=exceptions.UNKNOWN)
            case Cause.HVC:
                registers.set(PC, registers.pc + 4)
                self._called = True
                if (event := self._hvc(self)) is not None:
                    return SystemEvent(self.index, event)
            case Cause.FETCH:
                exceptions.abort(registers, trap.value, fetch=True)
            case Cause.READ | Cause.WRITE:
                exceptions.abort(registers, trap.value, write=trap.cause is Cause.WRITE)
        return None
