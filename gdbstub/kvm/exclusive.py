"""Exclusive sections: one vCPU executes guest code while all others stay out of the guest.

It runs nothing: vCPU threads call it on their way to KVM_RUN and back.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol

#: The longest wait for vCPUs that are owed a run, in seconds.
_SLICE: Final = 0.005


class ExclusiveVcpu(Protocol):
    """A vCPU, as an exclusive section needs it."""

    @property
    def in_guest(self) -> bool:
        """True in KVM_RUN, and on the way there past the check of ``holder``."""
        ...

    @property
    def stopping(self) -> bool:
        """True once it was told to park."""
        ...

    @property
    def powered_off(self) -> bool:
        """True while PSCI has it off: it stays in KVM_RUN until it is kicked."""
        ...

    def kick(self) -> None:
        """Make it come out of KVM_RUN and check ``holder`` again."""
        ...


class ExclusiveSection:
    """The exclusive section of one machine: free, or held by one vCPU.

    A vCPU sets its ``in_guest`` and then reads ``holder``; a holder writes ``holder`` and then
    reads the ``in_guest`` of the others. So at least one sees the other.

    A vCPU that starts a section again first lets those run that waited during its last one. A
    step over a breakpoint in a short loop would keep all others out for ever otherwise.
    """

    def __init__(self) -> None:
        """Begin free."""
        #: The vCPU in the section; read without the lock on every way into the guest.
        self.holder: ExclusiveVcpu | None = None
        #: vCPUs that waited at the end of the last section and have not been in the guest since;
        #: read without the lock on every way out of the guest.
        self.owed: set[ExclusiveVcpu] = set()
        self._last: ExclusiveVcpu | None = None
        self._waiting: set[ExclusiveVcpu] = set()
        self._changed = threading.Condition()

    def start_exclusive(self, vcpu: ExclusiveVcpu, siblings: Sequence[ExclusiveVcpu]) -> bool:
        """Start a section for *vcpu*: kick the *siblings*, and wait until none is in the guest.

        Returns False if *vcpu* was told to park; no section has started then.
        """
        others = [sibling for sibling in siblings if sibling is not vcpu]
        with self._changed:
            if vcpu is self._last:
                self._changed.wait_for(lambda: not self.owed or vcpu.stopping, _SLICE)
            self._wait(vcpu, lambda: self.holder is None)
            if vcpu.stopping:
                return False
            self.holder = self._last = vcpu
            self.owed.discard(vcpu)
            for sibling in others:
                if sibling.in_guest:
                    sibling.kick()
            self._changed.wait_for(
                lambda: vcpu.stopping or not any(each.in_guest for each in others)
            )
            if vcpu.stopping:
                self.holder = None
                self._changed.notify_all()
                return False
            return True

    def end_exclusive(self, vcpu: ExclusiveVcpu) -> None:
        """End the section, if *vcpu* is in it."""
        with self._changed:
            if self.holder is vcpu:
                self.holder = None
                self.owed = set(self._waiting)
                self._changed.notify_all()

    def wait(self, vcpu: ExclusiveVcpu) -> None:
        """Wait until another vCPU's section has ended, or *vcpu* was told to park."""
        powered_off = vcpu.powered_off
        with self._changed:
            self._changed.notify_all()
            self._wait(vcpu, lambda: self.holder in (None, vcpu), powered_off=powered_off)

    def _wait(
        self, vcpu: ExclusiveVcpu, ready: Callable[[], bool], *, powered_off: bool = False
    ) -> None:
        if not powered_off:  # else it would not leave the guest again, and stay owed a run
            self._waiting.add(vcpu)
        self._changed.wait_for(lambda: ready() or vcpu.stopping)
        self._waiting.discard(vcpu)

    def parks(self, vcpu: ExclusiveVcpu) -> None:
        """Note that *vcpu* parks: its section ends, and it is owed no run."""
        with self._changed:
            if self.holder is vcpu:
                self.holder = None
            self.owed.discard(vcpu)
            self._changed.notify_all()

    def left_guest(self, vcpu: ExclusiveVcpu) -> None:
        """Note that *vcpu* is out of the guest, and wake a holder that waits for that."""
        with self._changed:
            self.owed.discard(vcpu)
            self._changed.notify_all()

    def wake(self) -> None:
        """Wake all that wait, after a change of a vCPU's ``stopping``."""
        with self._changed:
            self._changed.notify_all()
