"""Target: what a debugger client asks for, as typed protocols. One of the two seams.

It knows no packet and no silicon; anything that implements it can be served.
Addresses are guest virtual (``gva``), threads are numbered from 1, and register data is
as the guest's memory would hold it, little-endian.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum, IntEnum
from typing import NamedTuple, Protocol, runtime_checkable

from gdbstub.aarch64.registers import Register
from gdbstub.agent import Clauses
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
    """Why a thread stopped, by the key that a stop reply says it with."""

    PLAIN = ""
    SWBREAK = "swbreak"
    HWBREAK = "hwbreak"
    WATCH = "watch"
    RWATCH = "rwatch"
    AWATCH = "awatch"


class Stopped(NamedTuple):
    """One thread has something to say; every thread is at rest.

    ``gva`` is the watched address for a watchpoint, else unused; ``text`` is a line for the
    person at the client, where no key of a stop reply could say it.
    """

    thread: int
    signal: Signal = Signal.TRAP
    stop: StopReason = StopReason.PLAIN
    gva: int = 0
    text: str = ""


class Exited(NamedTuple):
    """The guest is gone: powered off, with *status*."""

    status: int = 0


Report = Stopped | Exited


class Action(Enum):
    """What a resumed thread does."""

    CONTINUE = "c"
    STEP = "s"


class Range(NamedTuple):
    """Step, and go on stepping while ``start`` ≤ pc < ``end`` and nothing else stops it."""

    start: int
    end: int


class Resume(NamedTuple):
    """Which threads move and how; a thread that is not named stays where it is."""

    actions: Mapping[int, Action | Range]

    @property
    def stepped(self) -> frozenset[int]:
        """The threads that step."""
        return frozenset(t for t, action in self.actions.items() if action is Action.STEP)


class BreakpointKind(IntEnum):
    """What to break on, by the digit of the Z packet."""

    SOFTWARE = 0
    HARDWARE = 1
    WRITE = 2
    READ = 3
    ACCESS = 4


class Thread(NamedTuple):
    """One row of a thread list: ``state`` is a few words for a person."""

    id: int
    core: int
    name: str
    state: str


def program_counter(registers: Iterable[Register]) -> Register:
    """The row of the pc: the first that is an address of code.

    Raises:
        NoSuchRegister: there is none.
    """
    for row in registers:
        if row.type == "code_ptr":
            return row
    raise NoSuchRegister("no register is of type code_ptr, as the pc must be")


class Target(Protocol):
    """What every target does. All calls come from one thread, the server's."""

    #: Set by the server; the target calls it, from any thread, when a resumed target has
    #: come to rest. The server then asks ``take_report``.
    notify: Callable[[], None]

    @property
    def registers(self) -> Sequence[Register]:
        """The rows a client sees, in the order of their numbers."""
        ...

    @property
    def watchpoint_slots(self) -> int:
        """How many watchpoints the hardware has."""
        ...

    @property
    def running(self) -> bool:
        """Whether any thread is under way; nearly everything else needs it to be False."""
        ...

    def threads(self) -> Sequence[Thread]:
        """Every thread, the same ones for the target's whole life."""
        ...

    def read_registers(self, thread: int, registers: Sequence[Register]) -> bytes:
        """The registers' bytes one after another.

        Raises:
            NoSuchThread: no such thread.
        """
        ...

    def write_register(self, thread: int, register: Register, data: bytes) -> None:
        """Write one register; *data* has exactly its size.

        Raises:
            NoSuchThread, RegisterRefused: nothing was written.
        """
        ...

    def read_memory(self, thread: int, address: int, length: int) -> bytes:
        """Read as *thread* sees memory now, short when the tail is unmapped.

        Breakpoints do not show.

        Raises:
            MemoryFault: the first byte cannot be read.
        """
        ...

    def write_memory(self, thread: int, address: int, data: bytes) -> None:
        """Write as *thread* sees memory now: all of it or nothing.

        Raises:
            MemoryFault: some byte cannot be written; none was.
        """
        ...

    def insert(self, thread: int, kind: BreakpointKind, gva: int, length: int) -> None:
        """Insert a breakpoint or watchpoint; twice is the same as once.

        Raises:
            MemoryFault: nothing is mapped there.
            NoSlot: the comparators do not suffice; what was inserted stays.
        """
        ...

    def remove(self, thread: int, kind: BreakpointKind, gva: int, length: int) -> None:
        """Remove what ``insert`` with the same arguments put there; absent is no error."""
        ...

    def resume(self, resume: Resume) -> None:
        """Set the threads going and return at once; ``notify`` tells of the end."""
        ...

    def interrupt(self) -> None:
        """Ask a running target to stop; ``notify`` tells when it has. Never blocks."""
        ...

    def take_report(self) -> Report | None:
        """After ``notify``: what there is to say, or None when nothing concerns a client."""
        ...

    def report(self) -> Report:
        """Say again why the target is at rest (the ``?`` packet)."""
        ...

    def detach(self) -> None:
        """Leave no breakpoint behind and let the guest run, whatever state it is in."""
        ...

    def release(self) -> None:
        """The client vanished: leave no breakpoint behind; halted stays halted."""
        ...

    def kill(self) -> None:
        """End the guest."""
        ...


# What a target may offer besides: a client is told of it only where it is there.


class Timing:
    """How often something was done, and how long that took in all."""

    __slots__ = ("count", "nanoseconds")

    def __init__(self) -> None:
        """Begin at nothing."""
        self.count = 0
        self.nanoseconds = 0


class Command(NamedTuple):
    """A line for the target itself, and who asks: ``thread`` is the client's current one."""

    thread: int
    line: str
    #: What the client announced in ``qSupported``.
    features: frozenset[bytes]
    #: Its packets by name; those that nobody knows have none.
    packets: Mapping[bytes, Timing]
    #: The stops that it was told of.
    stops: Timing


@runtime_checkable
class Monitor(Protocol):
    """Commands of the target's own, GDB's ``monitor``."""

    def monitor(self, command: Command) -> str:
        """Do it, at rest; lines of ASCII to show.

        Raises:
            StubError: it cannot be done; the message is one line for a person.
        """
        ...


@runtime_checkable
class PhysicalMemory(Protocol):
    """Memory by the addresses that the guest calls physical."""

    def read_physical(self, ipa: int, length: int) -> bytes:
        """Read, short when the tail is no RAM; breakpoints do not show.

        Raises:
            MemoryFault: the first byte cannot be read.
        """
        ...

    def write_physical(self, ipa: int, data: bytes) -> None:
        """Write all of it or nothing.

        Raises:
            MemoryFault: some byte cannot be written; none was.
        """
        ...


def physical_memory(target: Target) -> PhysicalMemory | None:
    """*target*, if it has physical addresses."""
    return target if isinstance(target, PhysicalMemory) else None


@runtime_checkable
class Prompt(Protocol):
    """A target whose threads are its own: it runs even while the event loop waits for it."""

    @property
    def patience(self) -> float:
        """How long, in seconds, a stop is worth waiting for before anything else is done."""
        ...


def patience(target: Target) -> float:
    """How long *target* is worth waiting for; 0 for one that needs the event loop's thread."""
    return target.patience if isinstance(target, Prompt) else 0


@runtime_checkable
class Restartable(Protocol):
    """A target that can start its guest over."""

    def reset(self) -> None:
        """Start the guest over, halted at its first instruction; it is at rest, or has ended."""
        ...


def restartable(target: Target) -> Restartable | None:
    """Return *target*, if it can start its guest over, and does not say otherwise by ``offers``."""
    offers: Callable[[type], bool] = getattr(target, "offers", lambda _: True)
    return target if isinstance(target, Restartable) and offers(Restartable) else None


class MemoryTags(Protocol):
    """Allocation tags (FEAT_MTE2), a byte for each granule of 16 bytes: a capability.

    ``gva`` is a granule's address.
    """

    def read(self, thread: int, gva: int, count: int) -> bytes:
        """Read the tags of *count* granules.

        Raises:
            MemoryFault: one of them is not mapped, or no RAM.
        """
        ...

    def write(self, thread: int, gva: int, tags: bytes) -> None:
        """Write the tags of as many granules: all of them or none.

        Raises:
            MemoryFault: one of them is not mapped, or no RAM.
        """
        ...


@runtime_checkable
class TaggedTarget(Protocol):
    """A target that may have them."""

    @property
    def tags(self) -> MemoryTags | None:
        """None where it has not."""
        ...


def memory_tags(target: Target) -> MemoryTags | None:
    """The allocation tags of *target*, if there are any."""
    return target.tags if isinstance(target, TaggedTarget) else None


@runtime_checkable
class BreakpointConditions(Protocol):
    """Breakpoints with conditions and commands that the target itself evaluates."""

    def attach(self, kind: BreakpointKind, gva: int, clauses: Clauses) -> None:
        """Give what ``insert`` has put there these, in place of any that it had."""
        ...

    def take_output(self) -> bytes:
        """What commands have printed since the last time; ``notify`` tells that there is some.

        Asked while the target runs, too.
        """
        ...


def breakpoint_conditions(target: Target) -> BreakpointConditions | None:
    """*target*, if it evaluates conditions and commands."""
    return target if isinstance(target, BreakpointConditions) else None
