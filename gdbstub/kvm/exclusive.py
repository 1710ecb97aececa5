"""The way into the guest, which one vCPU may have for itself for a while.

It runs nothing: vCPU threads pass here on their way to KVM_RUN and back.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol

#: How long who holds it again waits for those who are owed a turn, in seconds.
_SLICE: Final = 0.005


class ExclusiveVcpu(Protocol):
    """A vCPU, as the gate sees it."""

    @property
    def in_guest(self) -> bool:
        """Whether it is in KVM_RUN, or past the gate on its way there."""
        ...

    @property
    def stopping(self) -> bool:
        """Whether it was told to park."""
        ...

    @property
    def powered_off(self) -> bool:
        """Whether it has nothing to do in the guest, where it stays until it is nudged."""
        ...

    def kick(self) -> None:
        """Make it come out of KVM_RUN and back to the gate."""
        ...


class ExclusiveSection:
    """Open to all, or held by one.

    A vCPU says that it is in the guest and then looks at ``holder``; a holder writes
    ``holder`` and then looks who is in the guest. So at least one sees the other.

    Who has held it gives those a chance who waited meanwhile, before it holds it again: one
    that steps over a breakpoint in a short loop would keep all others out for ever.
    """

    def __init__(self) -> None:
        """Open."""
        #: Who has the guest for itself; read without the lock on every way into it.
        self.holder: ExclusiveVcpu | None = None
        #: Who waited at the end of the last hold and has not been in the guest since; read
        #: without the lock on every way out of it.
        self.owed: set[ExclusiveVcpu] = set()
        self._last: ExclusiveVcpu | None = None
        self._waiting: set[ExclusiveVcpu] = set()
        self._changed = threading.Condition()

    def start_exclusive(self, vcpu: ExclusiveVcpu, siblings: Sequence[ExclusiveVcpu]) -> bool:
        """Wait until none of the *siblings* is in the guest; False: *vcpu* is to park."""
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
        """Open it, if *vcpu* holds it."""
        with self._changed:
            if self.holder is vcpu:
                self.holder = None
                self.owed = set(self._waiting)
                self._changed.notify_all()

    def wait(self, vcpu: ExclusiveVcpu) -> None:
        """Wait until somebody else's hold is over, or *vcpu* is to park."""
        powered_off = vcpu.powered_off
        with self._changed:
            self._changed.notify_all()
            self._wait(vcpu, lambda: self.holder in (None, vcpu), powered_off=powered_off)

    def _wait(
        self, vcpu: ExclusiveVcpu, ready: Callable[[], bool], *, powered_off: bool = False
    ) -> None:
        if not powered_off:  # else it would not take the turn that it is owed
            self._waiting.add(vcpu)
        self._changed.wait_for(lambda: ready() or vcpu.stopping)
        self._waiting.discard(vcpu)

    def parks(self, vcpu: ExclusiveVcpu) -> None:
        """*vcpu* will not be back before it is resumed: it holds nothing, and is owed nothing."""
        with self._changed:
            if self.holder is vcpu:
                self.holder = None
            self.owed.discard(vcpu)
            self._changed.notify_all()

    def left_guest(self, vcpu: ExclusiveVcpu) -> None:
        """*vcpu* is out of the guest, into which somebody may wait to be let alone."""
        with self._changed:
            self.owed.discard(vcpu)
            self._changed.notify_all()

    def wake(self) -> None:
        """Something that a waiting one looks at has changed."""
        with self._changed:
            self._changed.notify_all()
