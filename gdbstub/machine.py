"""Machine: the hardware of a guest as a debugger needs it, as typed protocols. The other seam.

``Machine`` is what each one has. ``Capabilities`` are what it may have besides; the debug core does
without each that is None.

The seam says nothing of how a vCPU is driven; KVM, another VMM's process and a replay log all
fit. Addresses are intermediate physical ones (``ipa``), which a guest calls physical.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Final, NamedTuple, Protocol, TypeVar

from gdbstub.aarch64.sysreg import ESR
from gdbstub.architecture import Register
from gdbstub.false_hits import PassesOver

Value = TypeVar("Value", bound=tuple[object, ...])


class Power(Enum):
    """The power state of a vCPU by PSCI."""

    ON = "on"
    OFF = "powered off"


class SystemEventKind(Enum):
    """The kinds of a guest's request to the whole machine (PSCI SYSTEM_OFF, SYSTEM_RESET)."""

    SHUTDOWN = "shutdown"
    RESET = "reset"
    CRASH = "crash"


class DebugExit(NamedTuple):
    """A debug exception of the guest that was routed to the debugger.

    The instruction has not executed, but for a software step, which comes after its own.
    ``far`` is the faulting address of a watchpoint, 0 otherwise.
    """

    vcpu: int
    esr: ESR
    far: int = 0


#: Syndrome of an exit that no exception caused: the time is up that ``RunMode.limit`` gave.
TIMED_OUT: Final = ESR(0)


def _distinct(cls: type[Value]) -> type[Value]:
    """Make a value of *cls* differ from one of another class with the same members."""

    def equal(self: Value, other: object) -> bool:
        return type(self) is type(other) and tuple.__eq__(self, other)

    methods = {
        "__eq__": equal,
        "__ne__": lambda *both: not equal(*both),
        "__hash__": tuple.__hash__,
    }
    for name, method in methods.items():
        setattr(cls, name, method)
    return cls


@_distinct
class SystemEvent(NamedTuple):
    """A guest's request to the whole machine; no vCPU can run until a reset."""

    vcpu: int
    kind: SystemEventKind


@_distinct
class RunFailure(NamedTuple):
    """A vCPU that cannot run; ``why`` is for a person."""

    vcpu: int
    why: str


Exit = DebugExit | SystemEvent | RunFailure


class DebugRegisters(NamedTuple):
    """Comparators to arm on every vCPU: pairs of control and value, slot by slot."""

    breakpoints: tuple[tuple[int, int], ...] = ()
    watchpoints: tuple[tuple[int, int], ...] = ()
    #: True: every BRK exits to the debugger; needed while one of the debugger's is in RAM. An
    #: armed comparator or a step has the same effect.
    enabled: bool = False


class RunMode(NamedTuple):
    """The way that a vCPU goes on: it steps one instruction, or runs.

    ``debug`` are comparators of its own, until its next exit; None: those that ``arm`` set.
    ``more`` are comparators beside these. All together are no more than there are slots.
    ``passes``: hits that ``PassesOver`` was told of are passed over, until the next exit.
    ``limit`` is a time in seconds: a vCPU that has no exit for so long, by and large, comes out
    with the syndrome ``TIMED_OUT``. None: it may run for ever.
    """

    step: bool = False
    debug: DebugRegisters | None = None
    more: DebugRegisters | None = None
    limit: float | None = None
    passes: bool = False

    def comparators(self, armed: DebugRegisters) -> DebugRegisters:
        """Return the comparators to run with, where ``arm`` has set *armed*."""
        debug = armed if self.debug is None else self.debug
        if (more := self.more) is None:
            return debug
        return DebugRegisters(
            debug.breakpoints + more.breakpoints,
            debug.watchpoints + more.watchpoints,
            debug.enabled or more.enabled,
        )


class Vcpu(Protocol):
    """One vCPU. Only a parked one may be used; while it runs its own thread alone may."""

    @property
    def power(self) -> Power:
        """The power state by PSCI.

        Raises:
            MachineError: the machine failed.
        """
        ...

    def get(self, register: Register) -> int:
        """Read a register now.

        Raises:
            NoSuchRegister: this machine has no such register.
            MachineError: the machine failed.
        """
        ...

    def set(self, register: Register, value: int) -> None:
        """Write a register now.

        Raises:
            RegisterRefused: the machine will not take this value.
            NoSuchRegister: this machine has no such register.
        """
        ...


class Listener(Protocol):
    """The receiver of exits: the debug core."""

    def debug_exit(self, exit: DebugExit) -> RunMode | None:
        """Return how the vCPU goes on from *exit*, at once; None: the exit is a stop.

        Called on the vCPU's own thread. Until it returns, this vCPU may be read and written;
        anything else may not, but for what ``Machine.start_exclusive`` allows.
        """
        ...

    def parked(self, exits: Sequence[Exit]) -> None:
        """Take the end of a ``resume``: every vCPU is parked, for *exits* in order of arrival.

        *exits* is empty after an ``interrupt``. Called on some vCPU's thread.
        """
        ...


class Machine(Protocol):
    """The hardware of one guest. All calls but ``interrupt`` come from one thread.

    ``read_memory``, ``write_memory``, ``start_exclusive`` and ``end_exclusive`` are called in
    ``Listener.debug_exit``, too.
    """

    listener: Listener

    @property
    def vcpus(self) -> Sequence[Vcpu]:
        """The vCPUs, by index; new objects after a reset."""
        ...

    @property
    def breakpoint_slots(self) -> int:
        """The number of DBGBCR/DBGBVR pairs."""
        ...

    @property
    def watchpoint_slots(self) -> int:
        """The number of DBGWCR/DBGWVR pairs."""
        ...

    @property
    def vector_length(self) -> int:
        """The longest SVE vector of its vCPUs, in bits; 0 without SVE."""
        ...

    @property
    def pointer_authentication(self) -> bool:
        """True if its vCPUs sign pointers (FEAT_PAuth)."""
        ...

    @property
    def system_registers(self) -> Sequence[Register]:
        """The system registers that its vCPUs have, in the order of their numbers."""
        ...

    @property
    def capabilities(self) -> "Capabilities":
        """The optional half. Asked for at each use: objects may be others after a reset."""
        ...

    def read_memory(self, ipa: int, length: int) -> bytes:
        """Read RAM; short where RAM ends within the range, or the host has a memory error.

        Raises:
            MemoryFault: no RAM at *ipa*, or a memory error there; devices are never read.
        """
        ...

    def write_memory(self, ipa: int, data: bytes, *, temporary: bool = False) -> None:
        """Write RAM; every vCPU fetches *data* from now on.

        *temporary*: in the place of an instruction that is written back, even if we are killed.

        Raises:
            MemoryFault: not all of it is RAM, and nothing was written; or a memory error there.
        """
        ...

    def arm(self, debug: DebugRegisters) -> None:
        """Set the comparators of every vCPU, powered-off ones too; all must be parked.

        Raises:
            MachineError: the machine failed.
        """
        ...

    def resume(self, modes: Mapping[int, RunMode]) -> None:
        """Run the vCPUs that are keys, each as its value says, and return at once.

        When one of them has an exit that is a stop, all are parked, and ``Listener.parked`` is
        called once.

        Raises:
            MachineError: the machine failed; none runs.
        """
        ...

    def interrupt(self) -> None:
        """Park every vCPU soon; ``Listener.parked`` follows if any was running."""
        ...

    def start_exclusive(self, vcpu: int) -> bool:
        """Wait until no vCPU but *vcpu* executes, and keep the others out of the guest.

        For use in ``debug_exit`` of *vcpu*. It lasts until ``end_exclusive``, or until all are
        parked. RAM may be written meanwhile. Returns False if all are being parked already; no
        exclusive section has started then.
        """
        ...

    def end_exclusive(self, vcpu: int) -> None:
        """Let the other vCPUs run again; in ``debug_exit`` of *vcpu*, or while all are parked."""
        ...

    def close(self) -> None:
        """Release everything; safe at any time and more than once."""
        ...


class Resettable(Protocol):
    """A machine that can start its guest over."""

    def reset(self) -> None:
        """Return to the guest's first instruction, RAM and devices included; all parked.

        Raises:
            MachineError: the machine failed.
        """
        ...


class VirtualTime(Protocol):
    """A virtual counter that can stand still while all vCPUs are parked."""

    #: True at first. To be set while all are parked; the counter goes on from its value. A reset
    #: does not change it.
    time_stands_still: bool


class RamTags(Protocol):
    """Allocation tags of RAM (FEAT_MTE2), a byte for each granule of 16 bytes.

    ``ipa`` is a granule's address. All vCPUs must be parked.
    """

    def read_tags(self, ipa: int, count: int) -> bytes:
        """Read the tags of *count* granules.

        Raises:
            MemoryFault: not all of them are RAM.
        """
        ...

    def write_tags(self, ipa: int, tags: bytes) -> None:
        """Write the tags of as many granules.

        Raises:
            MemoryFault: not all of them are RAM; nothing was written.
        """
        ...


class RamComparison(Protocol):
    """A comparison of several words of RAM in one go, faster than reads of each."""

    def unchanged(self, words: Sequence[tuple[int, bytes]]) -> Callable[[], bool]:
        """Return a function that is True while RAM holds all *words*: an ``ipa`` and 8 bytes each.

        It is called again and again, from ``debug_exit`` too.

        Raises:
            MemoryFault: no RAM at one of them.
        """
        ...


class Described(Protocol):
    """A machine with a description of itself and its guest for a person."""

    @property
    def about(self) -> Mapping[str, str]:
        """A subject, such as ``RAM``, to one line."""
        ...


class RamLayout(Protocol):
    """A machine that can say where its RAM is."""

    #: True if the guest has no other RAM, and no ROM that cannot be read.
    complete: bool

    @property
    def ram_ranges(self) -> Sequence[range]:
        """Physical addresses of RAM, ascending; adjacent ranges are one. Empty: nobody knows."""
        ...


class Counted(Protocol):
    """A machine that counts its events."""

    @property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """A group to its events' numbers since the start, resets included; ``exits`` is one."""
        ...


class Capabilities(NamedTuple):
    """The optional half of a machine: an object for each capability that it offers, else None."""

    reset: Resettable | None = None
    time: VirtualTime | None = None
    tags: RamTags | None = None
    comparison: RamComparison | None = None
    passes: PassesOver | None = None
    about: Described | None = None
    counts: Counted | None = None
    layout: RamLayout | None = None


def resettable(machine: Machine) -> Resettable | None:
    """Return the reset of *machine*, if it offers one."""
    return machine.capabilities.reset


def virtual_time(machine: Machine) -> VirtualTime | None:
    """Return the virtual counter of *machine* that can stand still, if it offers one."""
    return machine.capabilities.time


def ram_tags(machine: Machine) -> RamTags | None:
    """Return the allocation tags of *machine*, if it has any."""
    return machine.capabilities.tags


def described(machine: Machine) -> Described | None:
    """Return the description of *machine*, if it offers one."""
    return machine.capabilities.about


def counted(machine: Machine) -> Counted | None:
    """Return the counters of *machine*, if it offers any."""
    return machine.capabilities.counts
