"""Extension points of a debugger: observers, stop points, and what is known of the guest's program.

Nothing here knows Linux: ``gdbstub.linux`` and the command line implement these.
"""

from collections.abc import Collection, Sequence
from typing import Final, Protocol

from gdbstub.architecture import Register
from gdbstub.capabilities import Library, Relocation
from gdbstub.errors import NoSuchThread
from gdbstub.machine import Vcpu
from gdbstub.target import BreakpointKind, Stopped, Thread

#: The ids of guest threads are this and above. No machine has so many vCPUs; in decimal, as
#: clients show ids, those of tasks end in the PID.
GUEST_THREADS: Final = 10_000_000


def without_vcpu(thread: int, vcpus: int, more: str = "") -> NoSuchThread:
    """Return the error of a request that takes a vCPU, for a guest thread, which has none."""
    return NoSuchThread(
        f"no vCPU executes thread {thread}{more}: select a vCPU's, from 1 to {vcpus}"
    )


class Observer:
    """Base of objects that follow a debugger. Each method does nothing.

    All are called on the server's thread, after what they are named for has been done.
    """

    def inserted(self, kind: BreakpointKind, gva: int, length: int) -> None:
        """Follow ``insert``."""

    def removed(self, kind: BreakpointKind, gva: int, length: int) -> None:
        """Follow ``remove``."""

    def resumed(self) -> None:
        """Follow each start of the guest, for a client or for none."""

    def restarted(self) -> None:
        """Follow a reset: the guest is at its first instruction again."""

    def stopped(self, stop: Stopped) -> None:
        """Follow a stop that a client is told of."""

    def client_announced(self, features: frozenset[bytes]) -> None:
        """Follow the first packet of a client, which announces *features*, and each repeat."""

    def client_left(self) -> None:
        """Follow ``detach`` and ``release``. A guest that goes on is resumed after that."""

    def killed(self) -> None:
        """Follow ``kill``."""


class Examiner(Protocol):
    """Examination of a guest that has stopped, before a client is told of the stop."""

    @property
    def busy(self) -> bool:
        """True while the guest must stay as it is; its end is followed by ``Target.notify``."""
        ...

    def begin(self, stop: Stopped) -> None:
        """Take a stop that no client knows yet; be ``busy`` to have the client wait."""
        ...

    def interrupt(self) -> None:
        """Take a client's 0x03: it waits no longer."""
        ...


class StopPoints(Protocol):
    """Places at which the stub itself stops the guest, whatever its clients have requested."""

    @property
    def addresses(self) -> Collection[int]:
        """Virtual addresses of the places; more may come."""
        ...

    def stop_at(self, vcpu: int, gva: int) -> Stopped:
        """Return the stop to report where *vcpu* has come to *gva*, one of the addresses."""
        ...


class ProcessFilter(Protocol):
    """A process of the guest, to which alone breakpoints in programs belong."""

    def matches(self, vcpu: Vcpu) -> bool:
        """Return True if *vcpu*, whose own thread calls it, executes the process."""
        ...


class Libraries(Protocol):
    """Libraries of the program, as a kernel's modules are."""

    def libraries(self) -> Sequence[Library]:
        """Return the libraries that are loaded now."""
        ...


class GuestThreads(Protocol):
    """Threads of the guest's own system that no vCPU executes, by ids from ``GUEST_THREADS`` on."""

    def threads(self) -> Sequence[Thread]:
        """Return the threads that there are now.

        Raises:
            NotFound: they cannot be found yet.
        """
        ...

    def register(self, thread: int, register: Register) -> int:
        """Return a register's value.

        Raises:
            NoSuchThread: no such thread.
            NoSuchRegister: its value is not known.
        """
        ...

    def read_memory(self, thread: int, gva: int, length: int) -> bytes:
        """Read memory as a thread sees it, short where it ends.

        Raises:
            NoSuchThread: no such thread.
            MemoryFault: the first byte cannot be read.
        """
        ...


class Program(Protocol):
    """Facts about the program that the guest runs."""

    @property
    def exec_file(self) -> str:
        """File of the program, as clients open it; empty if none is known."""
        ...

    @property
    def relocatable(self) -> bool:
        """True if ``relocation`` can find the program. The answer never changes."""
        ...

    def relocation(self) -> Relocation | None:
        """Return the program's place; None if it is not known yet."""
        ...


class NoProgram:
    """``Program`` of which nothing is known."""

    exec_file = ""
    relocatable = False

    def relocation(self) -> Relocation | None:
        """Return None: the place of the program is not known."""
        return None
