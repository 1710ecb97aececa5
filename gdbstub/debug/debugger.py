"""Debug core: implements ``Target`` over any ``Machine``.

No protocol is spoken and no vCPU is driven here. ``run_control`` resumes and stops the guest.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from gdbstub.aarch64.architecture import AARCH64
from gdbstub.aarch64.registers import GENERAL, PC
from gdbstub.agent import Clauses, PrintedText
from gdbstub.architecture import Register
from gdbstub.capabilities import (
    AddressBits,
    BreakpointConditions,
    Capability,
    Command,
    HasExecFile,
    HasGuestThreads,
    HasLibraries,
    InterruptsInSteps,
    Library,
    MemoryMapping,
    MemoryRegion,
    Monitor,
    OsTable,
    OsTables,
    PhysicalMemory,
    Relocatable,
    Relocation,
    Restartable,
    TaggedTarget,
)
from gdbstub.debug.address_spaces import is_upper
from gdbstub.debug.breakpoints import Breakpoints
from gdbstub.debug.caches import Cache, Caches, Content
from gdbstub.debug.extensions import (
    GUEST_THREADS,
    Examiner,
    GuestThreads,
    Libraries,
    NoProgram,
    Observer,
    ProcessFilter,
    Program,
    StopPoints,
    without_vcpu,
)
from gdbstub.debug.memory_regions import region
from gdbstub.debug.registers import ClientRegisters
from gdbstub.debug.requested import RequestedBreakpoints
from gdbstub.debug.run_control import RunControl
from gdbstub.debug.run_state import RunState
from gdbstub.debug.tags import VirtualTags
from gdbstub.errors import NoSuchThread, NotFound, PacketError, RegisterRefused
from gdbstub.machine import Machine, Power, Vcpu, ram_tags, resettable
from gdbstub.target import BreakpointKind, Report, Resume, Thread

_CORE = frozenset(GENERAL)
_READS = 256
_UPPER = 1 << 55  # an address of the half that every vCPU translates alike


class Debugger(
    PhysicalMemory,
    OsTables,
    AddressBits,
    MemoryMapping,
    InterruptsInSteps,
    Restartable,
    TaggedTarget,
    BreakpointConditions,
    Monitor,
    HasExecFile,
    HasLibraries,
    HasGuestThreads,
    Relocatable,
):
    """Implements ``Target``. Begins halted at the first instruction. Thread *n* is vCPU *n* - 1."""

    architecture = AARCH64
    #: Let a step end at an interrupt's vector, as KVM's steps do.
    step_irqs = False
    #: Tables for ``info os``.
    os_tables: Sequence[OsTable] = ()

    def __init__(self, machine: Machine, *, caches: Caches | None = None) -> None:
        """Debug *machine*. ``Caches(enabled=False)`` makes the same debugger without caches."""
        self.notify: Callable[[], None] = lambda: None
        #: Called before a client hears that the guest has powered off.
        self.at_end: Callable[[], None] = lambda: None
        #: Commands of ``monitor``; None where there are none.
        self.commands: Callable[[Command], str] | None = None
        #: Returns True for those that are carried out in slices.
        self.long_commands: Callable[[Command], bool] = lambda _: False
        #: Facts about the guest's program.
        self.program: Program = NoProgram()
        #: Places at which the stub itself stops the guest.
        self.stop_points: list[StopPoints] = []
        self._process: ProcessFilter | None = None
        #: Libraries of the guest's program; None: nothing is known of any.
        self.modules: Libraries | None = None
        #: Threads of the guest's own, shown beside the vCPUs; None: none are.
        self.tasks: GuestThreads | None = None
        self._requested = RequestedBreakpoints()
        #: False: a guest that resets itself has ended.
        self.reboots = True
        #: Objects that follow what this debugger does.
        self.observers: list[Observer] = []
        #: Examines a guest that has stopped, before its client is told; None: nothing does.
        self.examiner: Examiner | None = None
        self.machine: Final = machine
        self.caches: Final = caches or Caches()
        self.breakpoints: Final = Breakpoints(machine, self.caches)
        self.memory: Final = self.breakpoints.memory
        self._registers = ClientRegisters(machine)
        # By thread and identity of the rows, which the value keeps alive.
        self._reads: Cache[tuple[int, int], tuple[Sequence[Register], bytes]] = self.caches.add(
            "registers", Content.REGISTERS, Cache(_READS)
        )
        self._printed = PrintedText()  # by breakpoints' commands
        self._control = RunControl(machine, self.breakpoints, self._registers, self.caches, self)

    # State.

    @property
    def state(self) -> RunState:
        """State of the guest."""
        return self._control.state

    @property
    def running(self) -> bool:
        """True from a resume to the ``take_report`` that follows it."""
        return self._control.running

    def offers(self, capability: type[Capability]) -> bool:
        """Return True unless *capability* needs something that this session does not have."""
        if capability is Monitor:
            return self.commands is not None
        if capability is HasLibraries:
            return self.modules is not None
        if capability is HasGuestThreads:
            return self.tasks is not None
        if capability is Restartable:
            return resettable(self.machine) is not None
        return self.program.relocatable if capability is Relocatable else True

    def monitor(self, command: Command) -> str:
        """Carry out a command (``Monitor``).

        Raises:
            StubError: it cannot be done.
        """
        if self.commands is None:
            raise PacketError("this target has no commands")
        return self.commands(command)

    def takes_long(self, command: Command) -> bool:
        """Return True if *command* is carried out in slices (``Monitor``)."""
        return self.long_commands(command)

    def client_announced(self, features: frozenset[bytes]) -> None:
        """Tell the observers of a client and its features (``Monitor``)."""
        for observer in self.observers:
            observer.client_announced(features)

    @property
    def process(self) -> ProcessFilter | None:
        """The process that breakpoints in programs belong to; None: each to its own."""
        return self._process

    @process.setter
    def process(self, process: ProcessFilter | None) -> None:
        self._process = process
        locator = self.breakpoints.locator
        locator.any_space = process is not None
        locator.forget()

    # Program.

    @property
    def exec_file(self) -> str:
        """File of the guest's program (``HasExecFile``)."""
        return self.program.exec_file

    def relocation(self) -> Relocation | None:
        """Return where the program is (``Relocatable``)."""
        return self.program.relocation()

    def libraries(self) -> Sequence[Library]:
        """Return the program's libraries (``HasLibraries``)."""
        return self.modules.libraries() if self.modules else ()

    # Registers and memory.

    @property
    def registers(self) -> Sequence[Register]:
        """Rows that a client sees."""
        return self._registers.rows

    @property
    def watchpoint_slots(self) -> int:
        """Number of watchpoints of a vCPU."""
        return self.machine.watchpoint_slots

    def threads(self) -> Sequence[Thread]:
        """Return one thread for each vCPU."""
        return [
            Thread(index + 1, index, f"CPU{index}", self._thread_state(vcpu))
            for index, vcpu in enumerate(self.machine.vcpus)
        ]

    def guest_threads(self) -> Sequence[Thread]:
        """Return the guest's own threads, if they are shown (``HasGuestThreads``)."""
        try:
            return self.tasks.threads() if self.tasks else ()
        except NotFound:
            return ()

    def _thread_state(self, vcpu: Vcpu) -> str:
        if self.running:
            return "running"
        return "halted" if vcpu.power is Power.ON else vcpu.power.value

    def index(self, thread: int) -> int:
        """Return the number of a thread's vCPU: of a guest thread, of the one that has stopped.

        Raises:
            NoSuchThread: no such thread.
        """
        if thread >= GUEST_THREADS and any(row.id == thread for row in self.guest_threads()):
            return self._control.stopped_index
        if not 0 < thread <= len(self.machine.vcpus):
            raise NoSuchThread(f"there is no thread {thread}")
        return thread - 1

    def translating(self, thread: int, gva: int) -> int:
        """Return the number of a vCPU that translates *gva* as *thread* does.

        Raises:
            NoSuchThread: no such thread, or *gva* is of a program that no vCPU executes.
        """
        if thread < GUEST_THREADS:
            return self.index(thread)
        indexes = range(len(self.machine.vcpus))
        if not is_upper(gva) and any(self.memory.regime(index).sctlr.M for index in indexes):
            raise without_vcpu(thread, len(indexes), f", and {gva:#x} is of its program")
        return self._control.stopped_index

    def read_registers(self, thread: int, registers: Sequence[Register]) -> bytes:
        """Return the registers' bytes one after another."""
        key, reads = (thread, id(registers)), self._reads
        if (known := reads.entries.get(key)) is not None and known[0] is registers:
            reads.hits += 1
            return known[1]
        if thread >= GUEST_THREADS:
            return self._guest_registers(thread, registers)
        vcpu = self.machine.vcpus[self.index(thread)]
        data = self._registers.read_many(vcpu, tuple(registers))
        # Other registers may change while all vCPUs are parked: a counter does.
        if _CORE.issuperset(registers):
            reads.misses += 1
            reads.put(key, (registers, data))
        return data

    def _guest_registers(self, thread: int, registers: Sequence[Register]) -> bytes:
        vcpu = self.machine.vcpus[self._control.stopped_index]
        guest, data = self._guest(thread), b""
        for row in registers:
            common = self._registers.is_common(row)
            value = self._registers.read(vcpu, row) if common else guest.register(thread, row)
            data += value.to_bytes(row.size, "little")
        return data

    def _guest(self, thread: int) -> GuestThreads:
        if self.tasks is None:
            raise NoSuchThread(f"there is no thread {thread}: the guest's own are not shown")
        return self.tasks

    def write_register(self, thread: int, register: Register, data: bytes) -> None:
        """Write one register."""
        if thread >= GUEST_THREADS:
            raise RegisterRefused(f"no vCPU executes thread {thread}: its registers are only read")
        vcpu = self.machine.vcpus[self.index(thread)]
        self.caches.invalidate(Content.REGISTER_WRITTEN)
        self._registers.write(vcpu, register, int.from_bytes(data, "little"))
        self._control.written(thread - 1)
        if register is PC:
            self._control.moved(thread - 1)

    def read_memory(self, thread: int, address: int, length: int) -> bytes:
        """Read memory by *thread*'s translation."""
        if thread >= GUEST_THREADS:
            return self._guest(thread).read_memory(thread, address, length)
        return self.memory.read(self.index(thread), address, length)

    def write_memory(self, thread: int, address: int, data: bytes) -> None:
        """Write memory by *thread*'s translation."""
        self.memory.write(self.translating(thread, address), address, data)

    def read_physical(self, ipa: int, length: int) -> bytes:
        """Read RAM (``PhysicalMemory``)."""
        return self.memory.read_physical(ipa, length)

    def write_physical(self, ipa: int, data: bytes) -> None:
        """Write RAM (``PhysicalMemory``)."""
        self.memory.write_physical(ipa, data)

    def region(self, thread: int, gva: int) -> MemoryRegion:
        """Return the mapped range or the hole that has *gva* (``MemoryMapping``)."""
        index, layout = self.translating(thread, gva), self.machine.capabilities.layout
        ram = layout.ram_ranges if layout else ()
        return region(partial(self.memory.walk, index), gva, ram)

    def address_bits(self, thread: int) -> tuple[int, int] | None:
        """Return the sizes of addresses by TCR_EL1; None with the MMU off (``AddressBits``)."""
        regime = self.memory.regime(self.index(thread))
        if not regime.sctlr.M:
            return None
        return 64 - regime.tcr.T0SZ, 64 - regime.tcr.T1SZ

    @property
    def tags(self) -> VirtualTags | None:
        """Allocation tags by virtual address; None where there are none (``TaggedTarget``)."""
        tags = ram_tags(self.machine)
        return None if tags is None else VirtualTags(self.memory, tags, self.translating)

    # Breakpoints: requests, which ``resume`` carries out.

    def insert(self, thread: int, kind: BreakpointKind, gva: int, length: int) -> None:
        """Insert a breakpoint or watchpoint."""
        index = self.translating(thread, _UPPER if self._requested.is_known(kind, gva) else gva)
        self.breakpoints.insert(index, kind, gva, length)
        self._requested.insert(kind, gva)
        for observer in self.observers:
            observer.inserted(kind, gva, length)

    def remove(self, thread: int, kind: BreakpointKind, gva: int, length: int) -> None:
        """Remove what the same arguments inserted."""
        self.breakpoints.remove(kind, gva, length)
        self._requested.remove(kind, gva)
        for observer in self.observers:
            observer.removed(kind, gva, length)

    def has_requested(self, gva: int, *kinds: BreakpointKind) -> bool:
        """Return True if a client has requested a breakpoint at *gva*, of one of *kinds*."""
        return any(self._requested.stands(kind, gva) for kind in kinds)

    def attach(self, kind: BreakpointKind, gva: int, clauses: Clauses) -> None:
        """Give a breakpoint its conditions and commands (``BreakpointConditions``)."""
        self.breakpoints.attach(kind, gva, clauses)

    def print(self, text: bytes) -> None:
        """Keep what a breakpoint's commands printed. Called on vCPU threads."""
        self._printed.add(text)
        self.notify()

    def take_output(self) -> bytes:
        """Return what was printed since the last call (``BreakpointConditions``)."""
        return self._printed.take()

    # Running.

    def resume(self, resume: Resume) -> None:
        """Resume the threads."""
        if not resume.actions:
            raise PacketError("a resume that moves no thread would never end")
        self._requested.resume()
        self._control.resume({self.index(t): action for t, action in resume.actions.items()})

    def interrupt(self) -> None:
        """Ask a running guest to stop."""
        self._control.interrupt()

    def take_report(self) -> Report | None:
        """Return the report after a stop; None where there was none, or it is for no client."""
        return self._control.take_report()

    def report(self) -> Report:
        """Return the last report again."""
        return self._control.report

    def detach(self) -> None:
        """Remove the client's breakpoints and let the guest run."""
        self._requested.clear()
        self._control.detach()

    def release(self) -> None:
        """Remove the client's breakpoints; a halted guest stays halted."""
        self._requested.clear()
        self._control.release()

    def reset(self) -> None:
        """Start the guest over, halted at its first instruction; all vCPUs are parked."""
        self._control.reset()

    def kill(self) -> None:
        """End the guest; whoever made the machine closes it."""
        self._control.kill()
