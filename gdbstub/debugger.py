"""The debug core: a ``Target`` over any ``Machine``, where a client meets silicon.

It speaks no protocol and drives no vCPU. Handlers call it on the server's thread while all
vCPUs are parked; ``debug_exit`` and ``parked`` come from vCPU threads while they run.
"""

import logging
from collections.abc import Callable, Sequence

from gdbstub import stepping
from gdbstub.aarch64.registers import CLIENT, CPSR, SP, SYSTEM, Register, stack_pointer
from gdbstub.aarch64.sysreg import EC, PSTATE
from gdbstub.breakpoints import Breakpoints
from gdbstub.errors import MemoryFault, NoSuchThread, PacketError, RegisterRefused
from gdbstub.guest_exception import take_exception
from gdbstub.machine import (
    DebugExit,
    Exit,
    Machine,
    Power,
    RunFailure,
    SystemEvent,
    SystemEventKind,
    Vcpu,
    ram_tags,
)
from gdbstub.stepping import Step
from gdbstub.target import (
    Action,
    AddressSpace,
    Exited,
    Kind,
    Report,
    Resume,
    Signal,
    Stop,
    Stopped,
    Thread,
)
from gdbstub.virtual_tags import VirtualTags

_log = logging.getLogger("gdbstub.debugger")

_RESET = SystemEventKind.RESET


class Debugger:
    """Implements ``Target``; it starts halted, at the guest's first instruction.

    Thread *n* is vCPU *n* - 1.
    """

    def __init__(self, machine: Machine) -> None:
        self.notify: Callable[[], None] = lambda: None
        self.running = False
        #: Whether a step may end at an interrupt's vector, as it does when left to KVM.
        self.step_irqs = False
        self._machine = machine
        machine.listener = self
        self._breakpoints = Breakpoints(machine)
        self._memory = self._breakpoints.memory
        self._steps: dict[int, Step] = {}  # by vCPU, those under way
        self._verdicts: dict[int, Stopped] = {}  # by vCPU, written on its thread
        self._exits: Sequence[Exit] = ()
        self._arrived = False  # at rest, and ``take_report`` has not been asked yet
        self._leaving = False  # a client left while the guest ran: strip it and let it run
        self._alone = False  # the guest runs for nobody but itself
        self._report: Report = Stopped(1)

    # What a client looks at.

    @property
    def registers(self) -> Sequence[Register]:
        """The rows that a client sees."""
        return (*CLIENT, *self._machine.system_registers)

    @property
    def watchpoint_slots(self) -> int:
        """How many watchpoints a vCPU has."""
        return self._machine.watchpoint_slots

    def threads(self) -> Sequence[Thread]:
        """One thread a vCPU."""
        return [
            Thread(index + 1, index, f"CPU{index}", self._state(vcpu))
            for index, vcpu in enumerate(self._machine.vcpus)
        ]

    def _state(self, vcpu: Vcpu) -> str:
        if self.running:
            return "running"
        return "halted" if vcpu.power is Power.ON else vcpu.power.value

    def _index(self, thread: int) -> int:
        if not 0 < thread <= len(self._machine.vcpus):
            raise NoSuchThread(f"there is no thread {thread}")
        return thread - 1

    def read_registers(self, thread: int, registers: Sequence[Register]) -> bytes:
        """The registers' bytes one after another."""
        vcpu = self._machine.vcpus[self._index(thread)]
        return b"".join(
            (vcpu.get(_banked(vcpu, r)) & (1 << r.bits) - 1).to_bytes(r.size, "little")
            for r in registers
        )

    def write_register(self, thread: int, register: Register, data: bytes) -> None:
        """Write one register."""
        vcpu = self._machine.vcpus[self._index(thread)]
        value = int.from_bytes(data, "little")
        self._memory.forget()
        if register.feature == SYSTEM:
            _set_whole(vcpu, register, value)
        else:
            vcpu.set(_banked(vcpu, register), value)

    def read_memory(
        self, thread: int, address: int, length: int, space: AddressSpace = AddressSpace.VIRTUAL
    ) -> bytes:
        """Read memory as *thread* sees it, or RAM."""
        index = self._index(thread)
        if space is AddressSpace.PHYSICAL:
            return self._memory.read_physical(address, length)
        return self._memory.read(index, address, length)

    def write_memory(
        self, thread: int, address: int, data: bytes, space: AddressSpace = AddressSpace.VIRTUAL
    ) -> None:
        """Write memory as *thread* sees it, or RAM."""
        index = self._index(thread)
        if space is AddressSpace.PHYSICAL:
            self._memory.write_physical(address, data)
        else:
            self._memory.write(index, address, data)

    @property
    def tags(self) -> VirtualTags | None:
        """Allocation tags as threads see them, where the machine has any (``TaggedTarget``)."""
        tags = ram_tags(self._machine)
        return None if tags is None else VirtualTags(self._memory, tags, self._index)

    # Breakpoints: records, which ``resume`` makes true.

    def insert(self, thread: int, kind: Kind, gva: int, length: int) -> None:
        """Insert a breakpoint or watchpoint."""
        self._breakpoints.insert(self._index(thread), kind, gva, length)

    def remove(self, thread: int, kind: Kind, gva: int, length: int) -> None:
        """Remove what the same arguments inserted."""
        self._breakpoints.remove(kind, gva, length)

    # Running.

    def resume(self, resume: Resume) -> None:
        """Set the threads going."""
        steps = {self._index(t): a is Action.STEP for t, a in resume.actions.items()}
        if not steps:
            raise PacketError("a resume that moves no thread would never end")
        self._breakpoints.arm()
        self._memory.forget()
        self._verdicts.clear()
        vcpus = self._machine.vcpus
        self._steps = {index: stepping.begin(vcpus[index]) for index in steps if steps[index]}
        self.running = True
        try:
            self._machine.resume(steps)
        except BaseException:
            self.running = False
            raise

    def _run_on(self) -> None:
        self.resume(
            Resume({index + 1: Action.CONTINUE for index in range(len(self._machine.vcpus))})
        )

    def interrupt(self) -> None:
        """Ask a running guest to stop."""
        self._alone = False
        self._machine.interrupt()

    def detach(self) -> None:
        """Leave nothing of ours behind and let the guest run."""
        if self.running:
            self.release()
        elif not isinstance(self._report, Exited):
            self._breakpoints.strip()
            self._alone = True
            self._run_on()

    def release(self) -> None:
        """Leave nothing of ours behind; halted stays halted."""
        if self.running:
            # BRKs come out only while every vCPU is parked: see ``take_report``.
            self._leaving = self._alone = True
            self._machine.interrupt()
        else:
            self._breakpoints.strip()

    def reset(self) -> None:
        """Start the guest over, halted at its first instruction; all vCPUs are parked."""
        self._machine.reset()
        self._breakpoints.forget()
        self._report = Stopped(1)

    def kill(self) -> None:
        """End the guest; whoever made the machine closes it."""
        self._report = Exited()
        if self.running:
            self._machine.interrupt()

    # Exits. On a vCPU's thread:

    def debug_exit(self, exit: DebugExit) -> bool:
        """Whether this is a stop; an exception of the guest's own goes back into it."""
        if (step := self._steps.get(exit.vcpu)) and self._goes_on(exit, step):
            return False
        verdict = self._breakpoints.verdict(exit)
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%r: %s", exit, verdict or "the guest's own")
        if verdict is None:
            take_exception(self._machine.vcpus[exit.vcpu], exit.esr, exit.far)
            if step is None:
                return False
            # The step has ended where hardware ends it: at the exception's vector.
            verdict = Stopped(exit.vcpu + 1)
        self._verdicts[exit.vcpu] = verdict
        return True

    def _goes_on(self, exit: DebugExit, step: Step) -> bool:
        """Whether a stepping vCPU has yet to execute its instruction."""
        if self.step_irqs:
            return False
        vcpu, word_at = self._machine.vcpus[exit.vcpu], self._word_at(exit.vcpu)
        if exit.esr.EC == EC.STEP_LOWER:
            return stepping.again(vcpu, step, word_at)
        stepping.abandon(vcpu, step, word_at)
        return False

    def _word_at(self, index: int) -> Callable[[int], int]:
        """Reads instructions as one vCPU sees memory now, on whatever thread owns it."""

        def word_at(gva: int) -> int:
            try:
                word = self._memory.as_of_now().read(index, gva, 4)
            except MemoryFault:
                return 0
            return int.from_bytes(word, "little")

        return word_at

    def parked(self, exits: Sequence[Exit]) -> None:
        """All vCPUs are at rest; the server's thread goes on from here."""
        self._exits = exits
        self._arrived = True
        self.notify()

    # On the server's thread again:

    def take_report(self) -> Report | None:
        """What there is to say after a stop; None where there was none, or for no client."""
        if not self._arrived:
            return None
        self._arrived = self.running = False
        self._memory.forget()
        self._abandon_steps()
        if isinstance(self._report, Exited):
            return self._report
        rebooted = any(isinstance(e, SystemEvent) and e.kind is _RESET for e in self._exits)
        self._report = self._judge(self._exits)
        self._exits = ()
        if self._leaving:
            self._leaving = False
            self._breakpoints.strip()
        elif not rebooted:
            return self._report
        if not self._alone or isinstance(self._report, Exited):
            return self._report
        self._run_on()
        return None

    def _abandon_steps(self) -> None:
        """Clean up after steps that another vCPU's stop has cut short."""
        ended = {exit.vcpu for exit in self._exits}
        for index in () if self.step_irqs else self._steps.keys() - ended:
            stepping.abandon(self._machine.vcpus[index], self._steps[index], self._word_at(index))
        self._steps = {}

    def _judge(self, exits: Sequence[Exit]) -> Report:
        """One report out of all exits of a stop.

        A completed step comes first: nothing would bring it back. Every other exit came
        before its instruction and happens again when its vCPU goes on.
        """
        for exit in exits:
            if isinstance(exit, SystemEvent):
                return self._system_event(exit)
        for exit in exits:
            if isinstance(exit, RunFailure):
                _log.error("vCPU %d cannot run: %s", exit.vcpu, exit.why)
                return Stopped(exit.vcpu + 1, Signal.ABRT)
        verdicts = [self._verdicts[e.vcpu] for e in exits if e.vcpu in self._verdicts]
        if not verdicts:
            thread = self._report.thread if isinstance(self._report, Stopped) else 1
            return Stopped(thread, Signal.INT)
        return min(verdicts, key=lambda verdict: verdict.stop is not Stop.PLAIN)

    def _system_event(self, event: SystemEvent) -> Report:
        match event.kind:
            case SystemEventKind.SHUTDOWN:
                return Exited()
            case SystemEventKind.RESET:
                self.reset()
                return self._report
            case SystemEventKind.CRASH:
                _log.error("vCPU %d: the guest reports that it has crashed", event.vcpu)
                return Stopped(event.vcpu + 1, Signal.ABRT)

    def report(self) -> Report:
        """Say again why the guest is at rest."""
        return self._report


def _banked(vcpu: Vcpu, register: Register) -> Register:
    """The row that a client's register stands for: ``sp`` depends on PSTATE."""
    return stack_pointer(PSTATE(vcpu.get(CPSR))) if register is SP else register


def _set_whole(vcpu: Vcpu, register: Register, value: int) -> None:
    """Write a system register all or not at all.

    Bits that it does not implement (RES0 and the like) read back otherwise than they were
    written. Such a value is refused: a client that is told OK takes it to be there.

    Raises:
        RegisterRefused: it would not hold *value*; it is as it was.
    """
    before = vcpu.get(register)
    vcpu.set(register, value)
    if lost := (vcpu.get(register) ^ value) & ~register.moving:
        vcpu.set(register, before)
        raise RegisterRefused(f"{register.name} does not take bits {lost:#x} of {value:#x}")
