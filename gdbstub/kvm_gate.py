"""The way into the guest, which one vCPU may have for itself for a while.

It runs nothing: vCPU threads pass here on their way to KVM_RUN and back.
"""

import threading
from collections.abc import Sequence
from typing import Protocol


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

    def nudge(self) -> None:
        """Make it come out of KVM_RUN and back to the gate."""
        ...


class Gate:
    """Open to all, or held by one.

    A vCPU says that it is in the guest and then looks at ``holder``; a holder writes
    ``holder`` and then looks who is in the guest. So at least one sees the other.
    """

    def __init__(self) -> None:
        """Open."""
        #: Who has the guest for itself; read without the lock on every way into it.
        self.holder: Passer | None = None
        self._changed = threading.Condition()

    def hold(self, passer: Passer, siblings: Sequence[Passer]) -> bool:
        """Wait until none of the *siblings* is in the guest; False: *passer* is to park."""
        with self._changed:
            self._changed.wait_for(lambda: self.holder is None or passer.stopping)
            if passer.stopping:
                return False
            self.holder = passer
            for sibling in siblings:
                if sibling is not passer and sibling.in_guest:
                    sibling.nudge()
            self._changed.wait_for(
                lambda: passer.stopping or not any(s.in_guest for s in siblings if s is not passer)
            )
            if not passer.stopping:
                return True
            self.holder = None
            self._changed.notify_all()
            return False

    def let_go(self, passer: Passer) -> None:
        """Open it, if *passer* holds it."""
        with self._changed:
            if self.holder is passer:
                self.holder = None
                self._changed.notify_all()

    def wait(self, passer: Passer) -> None:
        """Wait until somebody else's hold is over, or *passer* is to park."""
        with self._changed:
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.holder in (None, passer) or passer.stopping)

    def look_again(self) -> None:
        """Something that a waiting one looks at has changed."""
        with self._changed:
            self._changed.notify_all()
