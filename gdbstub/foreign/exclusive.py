"""Exclusive sections of a foreign guest: all on the tracer's thread, so without locks."""

import time
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final, Generic, Protocol, TypeVar

#: Time that a vCPU that is owed a run executes for, in seconds, however busy the host is.
_SLICE: Final = 0.001
#: The longest wait for all of them.
_TIMEOUT: Final = 0.1
_POLL_INTERVAL: Final = 0.0005


class ExclusiveThread(Protocol):
    """The thread of a vCPU, as a section needs it."""

    @property
    def out_of_guest(self) -> bool:
        """True if it is not in the guest, and comes there only when it is resumed."""
        ...

    def hold_signals(self) -> None:
        """Deliver no signal until ``release_signals``."""
        ...

    def release_signals(self) -> None:
        """Deliver those that have been held."""
        ...

    def kick(self) -> None:
        """Have it stop soon."""
        ...


class ForeignExclusiveVcpu(Protocol):
    """A vCPU, as a section needs it."""

    @property
    def thread(self) -> ExclusiveThread:
        """The vCPU's thread."""
        ...

    @property
    def sleeps(self) -> bool:
        """True while its thread waits in the host's kernel: for an interrupt, or powered off."""
        ...

    def executed(self) -> float:
        """Return the seconds that its thread has executed."""
        ...


Vcpu = TypeVar("Vcpu", bound=ForeignExclusiveVcpu)


class Pump(Protocol):
    """Handling of threads' stops until a condition holds."""

    def __call__(self, condition: Callable[[], bool], *, block: bool = True) -> None:
        """Handle stops."""
        ...


class ForeignExclusiveSection(Generic[Vcpu]):
    """The exclusive section of one guest: free, or held by one vCPU.

    A vCPU that starts a section first lets those run that waited during the last one. Several that
    come to breakpoints in turn would leave them no time to execute otherwise. Nobody else starts a
    section meanwhile. See ``kvm.exclusive``, whose threads wait where this handles stops.
    """

    def __init__(self, pump: Pump) -> None:
        self._pump = pump
        self._holder: Vcpu | None = None
        self._next: Vcpu | None = None
        self._waiting: set[Vcpu] = set()
        self._owed: set[Vcpu] = set()

    def held_by_another(self, vcpu: Vcpu) -> bool:
        """Return True while a vCPU other than *vcpu* is in a section."""
        return self._holder not in (None, vcpu)

    def is_anothers_turn(self, vcpu: Vcpu) -> bool:
        """Return True while a vCPU other than *vcpu* is in a section, or waits for its own."""
        return self.held_by_another(vcpu) or self._next not in (None, vcpu)

    def start(self, vcpu: Vcpu, others: Sequence[Vcpu], stopping: Callable[[], bool]) -> bool:
        """Start a section for *vcpu*, with the running *others* stopped; False while *stopping*."""
        if stopping():
            return False
        before, self._next = self._next, vcpu
        try:
            self._owed.discard(vcpu)
            if self._owed:
                self._wait_for_owed(stopping)
            self._pump(lambda: self._holder in (None, vcpu) or stopping())
        finally:
            self._next = before
        if stopping():
            return False
        self._holder = vcpu
        for other in others:
            other.thread.kick()
        # Not until they have stopped: their VMM may pause them, and wait for this one to pause.
        self._pump(lambda: stopping() or all(each.thread.out_of_guest for each in others))
        if stopping():
            self._holder = None
            return False
        # Else the VMM could pause this one in the middle, and wait for those that wait for it.
        vcpu.thread.hold_signals()
        return True

    def _release(self) -> None:
        if self._holder is not None:
            self._holder.thread.release_signals()
            self._holder = None

    def _wait_for_owed(self, stopping: Callable[[], bool]) -> None:
        """Wait until those that waited have left the guest again, or have executed for a while."""
        goals = {vcpu: vcpu.executed() + _SLICE for vcpu in self._owed}
        until = monotonic() + _TIMEOUT
        while not stopping() and monotonic() < until:
            if all(vcpu.sleeps or vcpu.executed() >= goals[vcpu] for vcpu in self._owed):
                return
            self._pump(lambda: not self._owed or stopping(), block=False)
            time.sleep(_POLL_INTERVAL)

    def waits(self, vcpu: Vcpu) -> None:
        """Note that *vcpu* has stopped for the section of another."""
        self._waiting.add(vcpu)

    def end(self, vcpu: Vcpu) -> set[Vcpu]:
        """End the section, if *vcpu* is in it; return the vCPUs that waited for that."""
        if self._holder is not vcpu:
            return set()
        self._release()
        self._owed, self._waiting = self._waiting, set()
        return set(self._owed)

    def end_all(self) -> set[Vcpu]:
        """End any section, because all are being parked; return the vCPUs that waited."""
        self._release()
        waiting, self._waiting = self._waiting, set()
        self._owed.clear()
        return waiting

    def left_guest(self, vcpu: Vcpu) -> None:
        """Note that *vcpu* is out of the guest: it is owed no run any more."""
        self._owed.discard(vcpu)

    def parks(self, vcpu: Vcpu) -> None:
        """Note that *vcpu* parks: its section ends."""
        if self._holder is vcpu:
            self._release()
        self._owed.discard(vcpu)
