"""The debug core: a ``Target`` over any ``Machine``, where a client meets silicon.

It speaks no protocol and drives no vCPU. Handlers call it on the server's thread while all
vCPUs are parked; ``debug_exit`` and ``parked`` come from vCPU threads while they run.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from gdbstub.aarch64.architecture import AARCH64
from gdbstub.aarch64.registers import GENERAL, PC
from gdbstub.agent import Clauses
from gdbstub.architecture import Register
from gdbstub.capabilities import BreakpointConditions, PhysicalMemory, Restartable, TaggedTarget
from gdbstub.debug.breakpoints import Breakpoints
from gdbstub.debug.pending_stops import PendingStops
from gdbstub.debug.plans import CutShort, ThreadPlan, VcpuPlans
from gdbstub.debug.registers import ClientRegisters
from gdbstub.debug.stop_reasons import StopClassifier
from gdbstub.debug.tags import VirtualTags
from gdbstub.errors import NoSuchThread, PacketError, StubError
from gdbstub.machine import (
    DebugExit,
    Exit,
    Machine,
    Power,
    RunFailure,
    RunMode,
    SystemEvent,
    SystemEventKind,
    Vcpu,
    ram_tags,
)
from gdbstub.target import (
    Action,
    BreakpointKind,
    Exited,
    Range,
    Report,
    Resume,
    Signal,
    Stopped,
    Thread,
)

_log = logging.getLogger("gdbstub.debugger")

_RESET = SystemEventKind.RESET
_CORE = frozenset(GENERAL)
_KNOWN = 256


class Debugger(PhysicalMemory, Restartable, TaggedTarget, BreakpointConditions):
    """Implements ``Target``; it starts halted, at the guest's first instruction.

    Thread *n* is vCPU *n* - 1.
    """

    architecture = AARCH64

    def __init__(self, machine: Machine) -> None:
        self.notify: Callable[[], None] = lambda: None
        self.running = False
        #: Called before a client hears that the guest has powered off.
        self.at_end: Callable[[], None] = lambda: None
        #: Steps are done by then, and short runs (``Prompt``).
        self.patience = 0.004
        #: Whether a step may end at an interrupt's vector, as it does when left to KVM.
        self.step_irqs = False
        self._machine = machine
        machine.listener = self
        self._registers = ClientRegisters(machine)
        self._breakpoints = Breakpoints(machine)
        self._classifier = StopClassifier(machine, self._breakpoints, self._registers, self._print)
        self._memory = self._breakpoints.memory
        self._plans = self._all_plans()
        #: What was read since all came to rest, by thread and by which rows: they are kept too.
        self._known: dict[tuple[int, int], tuple[Sequence[Register], bytes]] = {}
        self._under_way: dict[int, ThreadPlan] = {}  # by vCPU, those under way
        # The vCPU that alone has moved last, by steps, if nothing has been written since.
        self._stepping: int | None = None
        self._pending = PendingStops()
        self._printed: deque[bytes] = deque()  # by breakpoints' commands
        self._exits: Sequence[Exit] = ()
        self._arrived = False  # at rest, and ``take_report`` has not been asked yet
        self._leaving = False  # a client left while the guest ran: strip it and let it run
        self._alone = False  # the guest runs for nobody but itself
        self._report: Report = Stopped(1)

    # What a client looks at.

    @property
    def registers(self) -> Sequence[Register]:
        """The rows that a client sees."""
        return self._registers.rows

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
        key = thread, id(registers)
        if (known := self._known.get(key)) is not None and known[0] is registers:
            return known[1]
        vcpu = self._machine.vcpus[self._index(thread)]
        data = self._registers.read_many(vcpu, tuple(registers))
        # A counter, say, moves even while all vCPUs are parked; these do not.
        if _CORE.issuperset(registers):
            if len(self._known) == _KNOWN:
                self._known.clear()
            self._known[key] = registers, data
        return data

    def write_register(self, thread: int, register: Register, data: bytes) -> None:
        """Write one register."""
        vcpu = self._machine.vcpus[self._index(thread)]
        self._memory.forget()
        self._known.clear()
        self._stepping = None
        self._registers.write(vcpu, register, int.from_bytes(data, "little"))
        if register is PC:
            self._pending.moved(thread - 1)
            self._classifier.moved(thread - 1)

    def read_memory(self, thread: int, address: int, length: int) -> bytes:
        """Read memory as *thread* sees it."""
        return self._memory.read(self._index(thread), address, length)

    def write_memory(self, thread: int, address: int, data: bytes) -> None:
        """Write memory as *thread* sees it."""
        self._stepping = None
        self._memory.write(self._index(thread), address, data)

    def read_physical(self, ipa: int, length: int) -> bytes:
        """Read RAM (``PhysicalMemory``)."""
        return self._memory.read_physical(ipa, length)

    def write_physical(self, ipa: int, data: bytes) -> None:
        """Write RAM."""
        self._stepping = None
        self._memory.write_physical(ipa, data)

    @property
    def tags(self) -> VirtualTags | None:
        """Allocation tags as threads see them, where the machine has any (``TaggedTarget``)."""
        tags = ram_tags(self._machine)
        return None if tags is None else VirtualTags(self._memory, tags, self._index)

    # Breakpoints: records, which ``resume`` makes true.

    def insert(self, thread: int, kind: BreakpointKind, gva: int, length: int) -> None:
        """Insert a breakpoint or watchpoint."""
        self._breakpoints.insert(self._index(thread), kind, gva, length)

    def remove(self, thread: int, kind: BreakpointKind, gva: int, length: int) -> None:
        """Remove what the same arguments inserted."""
        self._breakpoints.remove(kind, gva, length)

    def attach(self, kind: BreakpointKind, gva: int, clauses: Clauses) -> None:
        """Give a breakpoint its conditions and commands (``BreakpointConditions``)."""
        self._breakpoints.attach(kind, gva, clauses)

    def _print(self, text: bytes) -> None:
        """On a vCPU's thread: a breakpoint's commands have printed."""
        self._printed.append(text)
        self.notify()

    def take_output(self) -> bytes:
        """What was printed since the last time (``BreakpointConditions``)."""
        output = b""
        while self._printed:
            output += self._printed.popleft()
        return output

    # Running.

    def resume(self, resume: Resume) -> None:
        """Set the threads going."""
        actions = {self._index(thread): action for thread, action in resume.actions.items()}
        if not actions:
            raise PacketError("a resume that moves no thread would never end")
        if len(actions) > 1:
            actions = {index: actions[index] for index in self._pending.in_order(actions)}
        if self._pending.due(actions):
            self.running = True
            self.parked(())
            return
        self._breakpoints.arm()
        self._memory.forget()
        self._known.clear()
        self._look_again(actions)
        self._under_way = {
            index: self._plan_for(index, action) for index, action in actions.items()
        }
        self.running = True
        try:
            modes = self._begin()
            if self._pending.stops:  # as good as stopped already: no vCPU need run
                self.parked(())
            else:
                self._machine.resume(modes)
        except BaseException:
            self.running = False
            self._cut_short()
            raise

    def _look_again(self, actions: Mapping[int, Action | Range]) -> None:
        """Have instructions looked up again, unless one vCPU steps on from where it was."""
        only = next(iter(actions)) if len(actions) == 1 else None
        if only is not None and actions[only] is Action.CONTINUE:
            only = None
        if only is None or only != self._stepping:
            for plans in self._plans:
                plans.forget()
        self._stepping = only

    def _begin(self) -> Mapping[int, RunMode]:
        """Let every plan begin; which vCPUs are to run, and how."""
        modes: dict[int, RunMode] = {}
        for index, plan in self._under_way.items():
            if self._classifier.remembers:
                self._classifier.resuming(index)
            try:
                modes[index] = next(plan)
            except StopIteration as done:
                self._pending.stops[index] = done.value
        return modes

    def _plan_for(self, index: int, action: Action | Range) -> ThreadPlan:
        plans = self._plans[index]
        plans.step_irqs = self.step_irqs
        if isinstance(action, Range):
            return plans.step_range(action)
        return plans.step() if action is Action.STEP else plans.continue_()

    def _all_plans(self) -> Sequence[VcpuPlans]:
        vcpus = range(len(self._machine.vcpus))
        return [VcpuPlans(self._machine, index, self._classifier) for index in vcpus]

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
            self._strip()
            self._alone = True
            self._run_on()

    def release(self) -> None:
        """Leave nothing of ours behind; halted stays halted."""
        if self.running:
            # BRKs come out only while every vCPU is parked: see ``take_report``.
            self._leaving = self._alone = True
            self._machine.interrupt()
        else:
            self._strip()

    def _strip(self) -> None:
        self._pending.forget()
        self._classifier.breakpoints_removed()
        self._breakpoints.strip()

    def reset(self) -> None:
        """Start the guest over, halted at its first instruction; all vCPUs are parked."""
        self._machine.reset()
        self._known.clear()
        self._plans = self._all_plans()  # its vCPUs are others now
        self._stepping = None
        self._breakpoints.forget()
        self._classifier.reset()
        self._pending.forget()
        self._report = Stopped(1)

    def kill(self) -> None:
        """End the guest; whoever made the machine closes it."""
        self._report = Exited()
        if self.running:
            self._machine.interrupt()

    # Exits. On a vCPU's thread:

    def debug_exit(self, exit: DebugExit) -> RunMode | None:
        """How its vCPU goes on, as its plan says; None when that is over."""
        try:
            return self._under_way[exit.vcpu].send(exit)
        except StopIteration as done:
            self._pending.stops[exit.vcpu] = done.value
            del self._under_way[exit.vcpu]
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%r: %s", exit, self._pending.stops[exit.vcpu])
        return None

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
        self._known.clear()
        self._cut_short()
        if isinstance(self._report, Exited):
            return self._report
        rebooted = any(isinstance(e, SystemEvent) and e.kind is _RESET for e in self._exits)
        self._report = self._conclude(self._exits)
        self._exits = ()
        if self._leaving:
            self._leaving = False
            self._strip()
        elif not rebooted:
            return self._report
        if not self._alone or isinstance(self._report, Exited):
            return self._report
        self._run_on()
        return None

    def _cut_short(self) -> None:
        """Have plans clean up that another vCPU's stop has cut short."""
        plans, self._under_way = self._under_way, {}
        for index, plan in plans.items():
            try:
                plan.throw(CutShort())
            except CutShort:
                pass
            except StubError as error:  # the others have something to clean up, too
                _log.error("vCPU %d may not be as it was: %s", index, error)

    def _conclude(self, exits: Sequence[Exit]) -> Report:
        """One report out of all exits of a stop."""
        for exit in exits:
            if isinstance(exit, SystemEvent):
                return self._system_event(exit)
        for exit in exits:
            if isinstance(exit, RunFailure):
                text = f"vCPU {exit.vcpu} cannot run: {exit.why}"
                _log.error("%s", text)
                return Stopped(exit.vcpu + 1, Signal.ABRT, text=text)
        if not self._pending.stops:
            thread = self._report.thread if isinstance(self._report, Stopped) else 1
            return Stopped(thread, Signal.INT)
        index, stop = self._pending.next()
        self._classifier.reported(index)
        return stop

    def _system_event(self, event: SystemEvent) -> Report:
        match event.kind:
            case SystemEventKind.SHUTDOWN:
                self.at_end()
                return Exited()
            case SystemEventKind.RESET:
                self.reset()
                return self._report
            case SystemEventKind.CRASH:
                text = f"vCPU {event.vcpu}: the guest reports that it has crashed"
                _log.error("%s", text)
                return Stopped(event.vcpu + 1, Signal.ABRT, text=text)

    def report(self) -> Report:
        """Say again why the guest is at rest."""
        return self._report
