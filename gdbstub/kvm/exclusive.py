"""The way into the guest, which one vCPU may have for itself for a while.

It runs nothing: vCPU threads pass here on their way to KVM_RUN and back.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol

#: How long who holds it again waits for those who are owed a turn, in seconds.
_SLICE: Final = 0.005


class Passer(Protocol):
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
    def absent(self) -> bool:
        """Whether it has nothing to do in the guest, where it stays until it is nudged."""
        ...

    def nudge(self) -> None:
        """Make it come out of KVM_RUN and back to the gate."""
        ...


class Gate:
    """Open to all, or held by one.

    A vCPU says that it is in the guest and then looks at ``holder``; a holder writes
    ``holder`` and then looks who is in the guest. So at least one sees the other.

    Who has held it gives those a chance who waited meanwhile, before it holds it again: one
    that steps over a breakpoint in a short loop would keep all others out for ever.
    """

    def __init__(self) -> None:
        """Open."""
        #: Who has the guest for itself; read without the lock on every way into it.
        self.holder: Passer | None = None
        #: Who waited at the end of the last hold and has not been in the guest since; read
        #: without the lock on every way out of it.
        self.owed: set[Passer] = set()
        self._last: Passer | None = None
        self._waiting: set[Passer] = set()
        self._changed = threading.Condition()

    def hold(self, passer: Passer, siblings: Sequence[Passer]) -> bool:
        """Wait until none of the *siblings* is in the guest; False: *passer* is to park."""
        others = [sibling for sibling in siblings if sibling is not passer]
        with self._changed:
            if passer is self._last:
                self._changed.wait_for(lambda: not self.owed or passer.stopping, _SLICE)
            self._wait(passer, lambda: self.holder is None)
            if passer.stopping:
                return False
            self.holder = self._last = passer
            self.owed.discard(passer)
            for sibling in others:
                if sibling.in_guest:
                    sibling.nudge()
            self._changed.wait_for(
                lambda: passer.stopping or not any(each.in_guest for each in others)
            )
            if passer.stopping:
                self.holder = None
                self._changed.notify_all()
                return False
            return True

    def let_go(self, passer: Passer) -> None:
        """Open it, if *passer* holds it."""
        with self._changed:
            if self.holder is passer:
                self.holder = None
                self.owed = set(self._waiting)
                self._changed.notify_all()

    def wait(self, passer: Passer) -> None:
        """Wait until somebody else's hold is over, or *passer* is to park."""
        absent = passer.absent
        with self._changed:
            self._changed.notify_all()
            self._wait(passer, lambda: self.holder in (None, passer), absent=absent)

    def _wait(self, passer: Passer, ready: Callable[[], bool], *, absent: bool = False) -> None:
        if not absent:  # else it would not take the turn that it is owed
            self._waiting.add(passer)
        self._changed.wait_for(lambda: ready() or passer.stopping)
        self._waiting.discard(passer)

    def parks(self, passer: Passer) -> None:
        """*passer* will not be back before it is resumed: it holds nothing, and is owed nothing."""
        with self._changed:
            if self.holder is passer:
                self.holder = None
            self.owed.discard(passer)
            self._changed.notify_all()

    def came_back(self, passer: Passer) -> None:
        """*passer* is out of the guest, into which somebody may wait to be let alone."""
        with self._changed:
            self.owed.discard(passer)
            self._changed.notify_all()

    def look_again(self) -> None:
        """Something that a waiting one looks at has changed."""
        with self._changed:
            self._changed.notify_all()
