"""Target: the interface between clients and what they debug. One of the two seams.

It knows no packet and no silicon; any object that implements it can be served. ``capabilities``
has what a target may offer besides. Addresses are guest virtual (``gva``), threads are numbered
from 1, and register data is in the order of bytes in memory, little-endian.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum, IntEnum
from typing import NamedTuple, Protocol

from gdbstub.architecture import Architecture, Register
from gdbstub.errors import NoSuchRegister


class Signal(IntEnum):
    """GDB's signal numbers, which are not the host's (gdb/include/gdb/signals.def)."""

    NONE = 0
    INT = 2
    ILL = 4
    TRAP = 5
    ABRT = 6
    FPE = 8
    BUS = 10
    SEGV = 11


class StopReason(Enum):
    """Reason of a thread's stop; the value is the key of a stop reply."""

    PLAIN = ""
    SWBREAK = "swbreak"
    HWBREAK = "hwbreak"
    WATCH = "watch"
    RWATCH = "rwatch"
    AWATCH = "awatch"
    LIBRARY = "library"


class Stopped(NamedTuple):
    """Report of a stop, which concerns one thread; every thread is at rest.

    ``gva`` is the watched address that was accessed, for a watchpoint; otherwise it is unused.
    ``also`` has the other watchpoints that the same access hit: the reason and address of each.
    ``text`` is a line for the person at the client, for what no key of a stop reply says.
    """

    thread: int
    signal: Signal = Signal.TRAP
    stop: StopReason = StopReason.PLAIN
    gva: int = 0
    text: str = ""
    also: tuple[tuple[StopReason, int], ...] = ()


class Exited(NamedTuple):
    """Report of the guest's end, with its exit status."""

    status: int = 0


Report = Stopped | Exited


class Action(Enum):
    """Way in which a thread is resumed."""

    CONTINUE = "c"
    STEP = "s"


class Range(NamedTuple):
    """Step once, and again while ``start`` ≤ pc < ``end``, until anything else stops the thread."""

    start: int
    end: int


class Resume(NamedTuple):
    """Threads to resume, and the way of each; any other thread stays at rest."""

    actions: Mapping[int, Action | Range]

    @property
    def stepped(self) -> frozenset[int]:
        """The threads that step."""
        return frozenset(t for t, action in self.actions.items() if action is Action.STEP)


class BreakpointKind(IntEnum):
    """Kind of a breakpoint or watchpoint; the value is the digit of the Z packet."""

    SOFTWARE = 0
    HARDWARE = 1
    WRITE = 2
    READ = 3
    ACCESS = 4


class Thread(NamedTuple):
    """One row of a thread list; ``state`` is a few words for a person.

    ``core`` is the number of the CPU that executes it, None if none does.
    """

    id: int
    core: int | None
    name: str
    state: str


def program_counter(registers: Iterable[Register]) -> Register:
    """Return the row of the pc: the first of type ``code_ptr``.

    Raises:
        NoSuchRegister: no row is of that type.
    """
    for row in registers:
        if row.type == "code_ptr":
            return row
    raise NoSuchRegister("the target's registers have no pc: none is of type code_ptr")


class Target(Protocol):
    """Interface of every target. All calls come from one thread, the server's."""

    #: Set by the server. The target calls it, from any thread, when it has come to rest after
    #: ``resume``. The server then calls ``take_report``.
    notify: Callable[[], None]

    @property
    def architecture(self) -> Architecture:
        """The instruction set; it never changes."""
        ...

    @property
    def registers(self) -> Sequence[Register]:
        """The rows that a client sees, in the order of their numbers; they never change.

        Those of the first row's feature are the general ones, which the ``g`` packet carries.
        """
        ...

    @property
    def watchpoint_slots(self) -> int:
        """Number of watchpoints that can be inserted."""
        ...

    @property
    def running(self) -> bool:
        """True while any thread runs; most methods are called only while it is False."""
        ...

    def threads(self) -> Sequence[Thread]:
        """List every thread; they are the same for the target's whole life."""
        ...

    def read_registers(self, thread: int, registers: Sequence[Register]) -> bytes:
        """Read registers; return their bytes one after another.

        Raises:
            NoSuchThread: no such thread.
            NoSuchRegister: one of them cannot be read; a client shows it as unavailable.
        """
        ...

    def write_register(self, thread: int, register: Register, data: bytes) -> None:
        """Write one register; *data* has exactly its size.

        Raises:
            NoSuchThread, RegisterRefused: nothing was written.
        """
        ...

    def read_memory(self, thread: int, address: int, length: int) -> bytes:
        """Read memory as *thread* sees it now; the result is short if the tail is unmapped.

        Breakpoints do not show.

        Raises:
            MemoryFault: the first byte cannot be read.
        """
        ...

    def write_memory(self, thread: int, address: int, data: bytes) -> None:
        """Write memory as *thread* sees it now: all of *data* or nothing.

        Raises:
            MemoryFault: some byte cannot be written; none was.
        """
        ...

    def insert(self, thread: int, kind: BreakpointKind, gva: int, length: int) -> None:
        """Insert a breakpoint or watchpoint; one that is inserted already is no error.

        Raises:
            MemoryFault: nothing is mapped there.
            NoSlot: the hardware has no room for it; what was inserted before stays.
        """
        ...

    def remove(self, thread: int, kind: BreakpointKind, gva: int, length: int) -> None:
        """Remove what ``insert`` with the same arguments inserted; it is no error if none is."""
        ...

    def resume(self, resume: Resume) -> None:
        """Resume threads and return at once; ``notify`` is called when all are at rest again."""
        ...

    def interrupt(self) -> None:
        """Ask a running target to stop, without waiting; ``notify`` is called when it has."""
        ...

    def take_report(self) -> Report | None:
        """Return the report of a stop after ``notify``, or None if it concerns no client."""
        ...

    def report(self) -> Report:
        """Repeat the report of the last stop (the ``?`` packet)."""
        ...

    def detach(self) -> None:
        """Remove all breakpoints and let the guest run, whatever state it is in."""
        ...

    def release(self) -> None:
        """Remove all breakpoints, as the client has gone; a halted guest stays halted."""
        ...

    def kill(self) -> None:
        """End the guest."""
        ...
