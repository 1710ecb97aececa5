"""Capabilities: what a target may offer besides ``Target``, each a class that it derives from.

A method of the same name offers nothing: only a target that derives from the class is asked. For
each capability there is one function that returns the target as having it, or None.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from gdbstub.agent import Clauses
from gdbstub.target import BreakpointKind, Target, Thread


class Capability(ABC):  # noqa: B024 - those that derive from it have abstract methods
    """Base of every capability."""

    def offers(self, capability: type["Capability"]) -> bool:
        """Return True if this target has *capability*, from which it derives.

        Override it where that depends on what the target runs on. The answer never changes.
        """
        return True


class Timing:
    """Number of times that something was done, and the nanoseconds that all of them took."""

    __slots__ = ("count", "nanoseconds")

    def __init__(self) -> None:
        """Begin at zero."""
        self.count = 0
        self.nanoseconds = 0


class Command(NamedTuple):
    """A line that a person typed after ``monitor``, and the client that it came from."""

    #: The client's current thread.
    thread: int
    line: str
    #: Names of the features that the client announced in ``qSupported``.
    features: frozenset[bytes]
    #: Timings of the client's packets by name; the empty name is for packets that are not known.
    packets: Mapping[bytes, Timing]
    #: Timings of the stop replies that the client was sent.
    stops: Timing
    #: Number of the client's packets that were found in the cache of packets.
    cache_hits: int = 0


class Monitor(Capability):
    """Commands of the target's own, which GDB sends after ``monitor``."""

    @abstractmethod
    def monitor(self, command: Command) -> str:
        """Carry out a command while the target is at rest; return lines of ASCII to show.

        Raises:
            StubError: it cannot be done; the message is one line for a person.
        """

    def takes_long(self, command: Command) -> bool:
        """Return True if *command* is to be carried out in slices (``slices.in_slices``).

        It may then be cancelled, and must end neither the guest nor the session.
        """
        return False

    def client_announced(self, features: frozenset[bytes]) -> None:
        """Learn what a client has announced in ``qSupported``: features without the ``+``."""


def monitor_commands(target: Target) -> Monitor | None:
    """Return *target* if it has commands of its own."""
    if isinstance(target, Monitor) and target.offers(Monitor):
        return target
    return None


class PhysicalMemory(Capability):
    """Memory by the addresses that the guest calls physical."""

    @abstractmethod
    def read_physical(self, ipa: int, length: int) -> bytes:
        """Read; the result is short if the tail is no RAM. Breakpoints do not show.

        Raises:
            MemoryFault: the first byte cannot be read.
        """

    @abstractmethod
    def write_physical(self, ipa: int, data: bytes) -> None:
        """Write all of *data* or nothing.

        Raises:
            MemoryFault: some byte cannot be written; none was.
        """


def physical_memory(target: Target) -> PhysicalMemory | None:
    """Return *target* if it has physical addresses."""
    if isinstance(target, PhysicalMemory) and target.offers(PhysicalMemory):
        return target
    return None


class MemoryRegion(NamedTuple):
    """Range of virtual addresses with the same ``permissions``, of ``rwx``; a hole has none."""

    start: int
    size: int
    permissions: str = ""


class MemoryMapping(Capability):
    """A target that knows which addresses are mapped."""

    @abstractmethod
    def region(self, thread: int, gva: int) -> MemoryRegion:
        """Return the mapped range or the hole that has *gva*, as *thread* sees memory now.

        It may be a part of a larger one.
        """


def memory_mapping(target: Target) -> MemoryMapping | None:
    """Return *target* if it knows which addresses are mapped."""
    if isinstance(target, MemoryMapping) and target.offers(MemoryMapping):
        return target
    return None


class AddressBits(Capability):
    """A target whose pointers may have other bits than those of an address, as signed ones do."""

    @abstractmethod
    def address_bits(self, thread: int) -> tuple[int, int] | None:
        """Return the sizes in bits of addresses in the lower and the upper half, for *thread* now.

        None while it has no such halves.
        """


def address_bits(target: Target) -> AddressBits | None:
    """Return *target* if it knows the size of its addresses."""
    if isinstance(target, AddressBits) and target.offers(AddressBits):
        return target
    return None


class InterruptsInSteps(Capability):
    """A target whose steps may or may not let interrupts in."""

    @property
    @abstractmethod
    def step_irqs(self) -> bool:
        """True: a step may end at an interrupt's vector. It can be set."""

    @step_irqs.setter
    @abstractmethod
    def step_irqs(self, wanted: bool) -> None: ...


def interrupts_in_steps(target: Target) -> InterruptsInSteps | None:
    """Return *target* if it can choose that."""
    if isinstance(target, InterruptsInSteps) and target.offers(InterruptsInSteps):
        return target
    return None


class Restartable(Capability):
    """A target that can start its guest over."""

    @abstractmethod
    def reset(self) -> None:
        """Start the guest over, halted at its first instruction.

        It is called while the target is at rest or has ended.
        """


def restartable(target: Target) -> Restartable | None:
    """Return *target* if it can start its guest over."""
    if isinstance(target, Restartable) and target.offers(Restartable):
        return target
    return None


class MemoryTags(Protocol):
    """Memory tags, one byte for each granule; ``gva`` is the address of a granule.

    ``Architecture.tag_granule`` is the size of one.
    """

    def read(self, thread: int, gva: int, count: int) -> bytes:
        """Read the tags of *count* granules.

        Raises:
            MemoryFault: one of them is not mapped, or no RAM.
        """
        ...

    def write(self, thread: int, gva: int, tags: bytes) -> None:
        """Write the tags of ``len(tags)`` granules: all of them or none.

        Raises:
            MemoryFault: one of them is not mapped, or no RAM.
        """
        ...


class TaggedTarget(Capability):
    """A target whose memory may have tags (FEAT_MTE2 on AArch64)."""

    @property
    @abstractmethod
    def tags(self) -> MemoryTags | None:
        """The tags of memory, or None if it has none."""


def memory_tags(target: Target) -> MemoryTags | None:
    """Return the memory tags of *target*, if it has any."""
    if isinstance(target, TaggedTarget) and target.offers(TaggedTarget):
        return target.tags
    return None


class BreakpointConditions(Capability):
    """Breakpoints with conditions and commands that the target itself evaluates."""

    @abstractmethod
    def attach(self, kind: BreakpointKind, gva: int, clauses: Clauses) -> None:
        """Replace the conditions and commands of a breakpoint that is inserted."""

    @abstractmethod
    def take_output(self) -> bytes:
        """Return the text that commands have printed since the last call.

        The target calls ``notify`` when there is some. It is asked while it runs, too.
        """


def breakpoint_conditions(target: Target) -> BreakpointConditions | None:
    """Return *target* if it evaluates conditions and commands."""
    return (
        target
        if isinstance(target, BreakpointConditions) and target.offers(BreakpointConditions)
        else None
    )


class OsTable(NamedTuple):
    """One table of GDB's ``info os NAME``; ``title`` is for a client that has a menu of them.

    ``rows`` makes the rows now: texts by the names of their columns, the same ones in every row.
    """

    name: str
    title: str
    description: str
    rows: Callable[[], Iterable[Mapping[str, str]]]


class OsTables(Capability):
    """A target that knows the operating system that runs on it."""

    @property
    @abstractmethod
    def os_tables(self) -> Sequence[OsTable]:
        """The tables that ``info os`` offers."""


def os_tables(target: Target) -> OsTables | None:
    """Return *target* if it knows its operating system."""
    if isinstance(target, OsTables) and target.offers(OsTables):
        return target
    return None


class HasExecFile(Capability):
    """A target whose program is a file."""

    @property
    @abstractmethod
    def exec_file(self) -> str:
        """Absolute path of the file, as clients open it; empty if none is known."""


def exec_file(target: Target) -> str | None:
    """Return the path of *target*'s program, if it is known."""
    if isinstance(target, HasExecFile) and target.offers(HasExecFile):
        return target.exec_file or None
    return None


class Library(NamedTuple):
    """One loaded library: its file, as clients open it, and where it was loaded.

    ``sections`` has the address of each section of the file that takes memory, in the file's order.
    """

    name: str
    sections: tuple[int, ...]


class HasLibraries(Capability):
    """A target whose program loads libraries, as a kernel does its modules."""

    @abstractmethod
    def libraries(self) -> Sequence[Library]:
        """Return the libraries that are loaded now, while the target is at rest.

        A client that has asked is told by stops with ``StopReason.LIBRARY`` to ask again.
        """


def has_libraries(target: Target) -> HasLibraries | None:
    """Return *target* if it knows the libraries of its program."""
    if isinstance(target, HasLibraries) and target.offers(HasLibraries):
        return target
    return None


class HasGuestThreads(Capability):
    """A target whose guest has threads of its own, which clients may see beside its vCPUs.

    Their registers and memory are read by the methods of ``Target``, and not written. None of them
    can be resumed: they wait until the guest has a vCPU execute them.
    """

    @abstractmethod
    def guest_threads(self) -> Sequence[Thread]:
        """Return the threads that no vCPU executes now, while the target is at rest; often none."""


def has_guest_threads(target: Target) -> HasGuestThreads | None:
    """Return *target* if its guest may have threads of its own."""
    if isinstance(target, HasGuestThreads) and target.offers(HasGuestThreads):
        return target
    return None


class Relocation(NamedTuple):
    """Place of a program in memory: ``offset``, 0 or more, above the place that it was linked at.

    ``start`` is the virtual address that its first PT_LOAD was linked at.
    """

    start: int
    offset: int


class Relocatable(Capability):
    """A target whose program may be elsewhere than it was linked, as a kernel with KASLR is."""

    @abstractmethod
    def relocation(self) -> Relocation | None:
        """Find the program's place, while the target is at rest; None if it is not known yet."""


def relocatable(target: Target) -> Relocatable | None:
    """Return *target* if it can tell where its program is."""
    if isinstance(target, Relocatable) and target.offers(Relocatable):
        return target
    return None
