"""Machine: what silicon offers a debugger, as typed protocols. The other seam.

It says nothing of how a vCPU is driven; KVM, a foreign VMM and a replay log all fit.
Addresses are intermediate physical (``ipa``), what a guest calls physical.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple, Protocol, runtime_checkable

from gdbstub.aarch64.sysreg import ESR
from gdbstub.architecture import Register


class Power(Enum):
    """PSCI's view of a vCPU."""

    ON = "on"
    OFF = "powered off"


class SystemEventKind(Enum):
    """What a guest asked of the machine as a whole (PSCI SYSTEM_OFF, SYSTEM_RESET)."""

    SHUTDOWN = "shutdown"
    RESET = "reset"
    CRASH = "crash"


class DebugExit(NamedTuple):
    """A debug exception of the guest was routed to us; the instruction has not executed.

    ``far`` is the faulting address of a watchpoint, 0 otherwise. A software step alone
    comes after its instruction.
    """

    vcpu: int
    esr: ESR
    far: int = 0


class SystemEvent(NamedTuple):
    """The guest powered itself off, or asked for a reset; no vCPU can run any more."""

    vcpu: int
    kind: SystemEventKind


class RunFailure(NamedTuple):
    """The vCPU cannot be run, and why."""

    vcpu: int
    why: str


Exit = DebugExit | SystemEvent | RunFailure


class DebugRegisters(NamedTuple):
    """Comparators to arm on every vCPU: pairs of control and value, slot by slot."""

    breakpoints: tuple[tuple[int, int], ...] = ()
    watchpoints: tuple[tuple[int, int], ...] = ()
    #: Whether every BRK exits to us; must be set while one of ours is in RAM. An armed
    #: comparator or a step has the same effect.
    enabled: bool = False


class RunMode(NamedTuple):
    """How a vCPU goes on: stepping one instruction, or running.

    ``debug`` are comparators of its own, until its next exit; None: what ``arm`` set.
    """

    step: bool = False
    debug: DebugRegisters | None = None


class Vcpu(Protocol):
    """One vCPU. Only a parked one may be touched; its thread alone owns it while it runs."""

    @property
    def power(self) -> Power:
        """Whether PSCI has it on."""
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
    """Who is told of exits."""

    def debug_exit(self, exit: DebugExit) -> RunMode | None:
        """How the vCPU goes on from this exit, at once; None: it is a stop.

        Called on the vCPU's own thread, which owns it for the time of the call: it may be
        read and written, and nothing else may but what ``Machine.start_exclusive`` allows.
        """
        ...

    def parked(self, exits: Sequence[Exit]) -> None:
        """Every vCPU is at rest after a ``resume``, for these reasons in order of arrival.

        None at all means that ``interrupt`` did it. Called on some vCPU's thread.
        """
        ...


class Machine(Protocol):
    """All of a guest's hardware."""

    listener: Listener

    #: Whether the guest's virtual counter stands still while all are parked, as it does at
    #: first. Set while they are; it goes on from where it is. A reset does not change it.
    time_stands_still: bool

    @property
    def vcpus(self) -> Sequence[Vcpu]:
        """The vCPUs, by index; new objects after a ``reset``."""
        ...

    @property
    def breakpoint_slots(self) -> int:
        """How many DBGBCR/DBGBVR pairs there are."""
        ...

    @property
    def watchpoint_slots(self) -> int:
        """How many DBGWCR/DBGWVR pairs there are."""
        ...

    @property
    def vector_length(self) -> int:
        """The bits of the longest SVE vector that its vCPUs have; 0 without SVE."""
        ...

    @property
    def pointer_authentication(self) -> bool:
        """Whether its vCPUs sign pointers."""
        ...

    @property
    def system_registers(self) -> Sequence[Register]:
        """The system registers that its vCPUs have, in the order of their numbers."""
        ...

    @property
    def about(self) -> Mapping[str, str]:
        """What a person would ask of it first, by a word each: ``RAM``, and more."""
        ...

    @property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """How often what has happened, resets included, for a person to read.

        ``exits`` by their kind, and what else there is to count.
        """
        ...

    def read_memory(self, ipa: int, length: int) -> bytes:
        """Read RAM, short when it ends within the range, or a memory error of the host is there.

        Raises:
            MemoryFault: no RAM at *ipa*, or a broken one; devices are never read.
        """
        ...

    def unchanged(self, words: Sequence[tuple[int, bytes]]) -> Callable[[], bool]:
        """A question for again and again: whether RAM still holds these, 8 bytes at each address.

        Raises:
            MemoryFault: no RAM at one of them.
        """
        ...

    def write_memory(self, ipa: int, data: bytes) -> None:
        """Write RAM, and make it what every vCPU fetches from now on.

        Raises:
            MemoryFault: not all of it is RAM, and nothing was written; or some of it is broken.
        """
        ...

    def arm(self, debug: DebugRegisters) -> None:
        """Set the comparators of every vCPU, powered-off ones too; all must be parked."""
        ...

    def resume(self, modes: Mapping[int, RunMode]) -> None:
        """Run the vCPUs that are keys, each as its value says.

        Returns at once. When one of them has an exit that is a stop, all are parked, and
        ``Listener.parked`` is called once.
        """
        ...

    def interrupt(self) -> None:
        """Park every vCPU soon; ``Listener.parked`` follows if any was running."""
        ...

    def start_exclusive(self, vcpu: int) -> bool:
        """In ``debug_exit`` of *vcpu*: wait until no other one executes, and keep it so.

        It lasts until ``end_exclusive``, or until all are parked; RAM may be written meanwhile.
        False: all are being parked already, and nothing is held.
        """
        ...

    def end_exclusive(self, vcpu: int) -> None:
        """In ``debug_exit`` of *vcpu*, or while all are parked: it holds the others no more."""
        ...

    def reset(self) -> None:
        """Start over: the guest as it was at its first instruction. All must be parked."""
        ...

    def close(self) -> None:
        """Give everything back; safe at any time and more than once."""
        ...


class RamTags(Protocol):
    """Allocation tags of RAM (FEAT_MTE2), a byte for each granule of 16 bytes: a capability.

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


@runtime_checkable
class TaggedMachine(Protocol):
    """A machine that may have them."""

    @property
    def tags(self) -> RamTags | None:
        """None where it has not; a new object after a ``reset``."""
        ...


def ram_tags(machine: Machine) -> RamTags | None:
    """The allocation tags of *machine*, if there are any."""
    return machine.tags if isinstance(machine, TaggedMachine) else None
