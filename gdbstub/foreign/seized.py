"""The seized threads of a VMM: their stops, of which none is forgotten, and their end.

What a stop means for a guest is decided by its handler. All is for the tracer's thread.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable
from time import monotonic
from typing import TYPE_CHECKING, Final

from gdbstub.errors import MachineError, StubError
from gdbstub.foreign import ptrace
from gdbstub.foreign.ptrace import Tracee

if TYPE_CHECKING:
    from gdbstub.foreign.process import PendingSignals
    from gdbstub.foreign.vcpu_thread import VcpuThread

_log = logging.getLogger("gdbstub.foreign")

#: Time in which every vCPU's thread must come to its KVM_RUN, in seconds.
PARK_TIMEOUT: Final = 10.0
#: The pause between two looks at the threads' stops, in seconds.
POLL_INTERVAL: Final = 0.002

#: Most looks at a thread's signals between two times that it gives way for the same ones.
_MOST_LOOKS: Final = 128

#: Takes a stop of a thread: its id, and its status of waitpid.
Handler = Callable[[int, int], None]


class SeizedThreads:
    """The threads that are traced, by their ids."""

    def __init__(self, handler: Handler) -> None:
        """Begin with none; *handler* takes the stops of each."""
        self.by_tid: dict[int, VcpuThread] = {}
        self.handler = handler
        self._left: dict[int, _LeftSignals] = {}

    def any_runs(self) -> bool:
        """Return True while a stop may come."""
        return any(not (each.stopped or each.ended) for each in self.by_tid.values())

    def any_in_guest(self) -> bool:
        """Return True while a thread may run the guest; one that its VMM keeps does not."""
        return any(not (each.out_of_guest or each.ended) for each in self.by_tid.values())

    def stop(self, tid: int, status: int) -> None:
        """Take a stop of a thread.

        Raises:
            Exception: the handler's; the thread goes on as without a tracer, unless it is parked.
        """
        if status >> 16 == ptrace.EVENT_EXEC:
            # The one that has executed it has the number of the process now.
            _release(tid, status)
            self.lost()
        elif (thread := self.by_tid.get(tid)) is None:
            _release(tid, status)
        else:
            try:
                self.handler(tid, status)
            except BaseException:
                with contextlib.suppress(MachineError):  # it may run already, or be killed
                    thread.carry_on(status)
                raise

    def lost(self) -> None:
        """Treat all threads as ended: the process has executed another program, which has no VM.

        If a thread does so that is not traced, no end of the process's first thread is told.
        """
        for tid, thread in tuple(self.by_tid.items()):
            if not thread.ended:
                self.handler(tid, 0)

    def give_way(
        self, pending: Callable[[int, int], "PendingSignals"], tids: Iterable[int] | None = None
    ) -> None:
        """Let the parked threads of *tids*, or all, take their signals.

        *pending* looks at a thread, by its id and the mask of the signals that it blocks.

        A VMM that is told to pause its guest, or asked for registers, signals the threads of its
        vCPUs, and waits for them.
        """
        for tid in self.by_tid if tids is None else tids:
            thread = self.by_tid[tid]
            if not thread.may_give_way:
                continue
            with contextlib.suppress(StubError):  # it may be killed at any time
                deliverable, blocked = pending(tid, thread.blocked)
                left = self._left.setdefault(tid, _LeftSignals())
                if left.may_be_for_run(blocked) or deliverable:
                    thread.give_way()

    def stop_all(self, pump: Callable[[], None]) -> None:
        """Stop every thread: at KVM_RUN if it comes there in time, else where it is.

        *pump* takes the stops that have come. One that does not stop at all is left to the end of
        the tracer, when the kernel lets go of all its threads.
        """
        for anywhere in (False, True):
            until = monotonic() + PARK_TIMEOUT
            for thread in self.by_tid.values():
                if not (thread.stopped or thread.ended):
                    thread.anywhere = anywhere
                    with contextlib.suppress(StubError):
                        thread.kick()
            while self.any_runs() and monotonic() < until:
                pump()
                time.sleep(POLL_INTERVAL)
        if self.any_runs():
            _log.warning("a thread of the VMM does not stop; it is let go as it is")

    def detach_all(self) -> None:
        """End tracing of all that are stopped."""
        for thread in self.by_tid.values():
            if thread.stopped and not thread.ended:
                with contextlib.suppress(StubError):  # it may end at any time
                    thread.detach()


class _LeftSignals:
    """The signals that a thread blocks and has left pending, though it gave way to its VMM.

    Those that a VMM unblocks for KVM_RUN alone (KVM_SET_SIGNAL_MASK) look the same until it has
    taken them. So the thread gives way for the same ones again, but ever more rarely.
    """

    def __init__(self) -> None:
        self._signals = 0
        #: Looks between the last two times that it gave way, and those that are left.
        self._pause = self._looks = 0

    def may_be_for_run(self, blocked: int) -> bool:
        """Take a look at the signals that the thread blocks; return True if it may give way."""
        if blocked & ~self._signals:
            self._pause = self._looks = 0
        self._signals = blocked
        self._looks -= 1
        if not blocked or self._looks > 0:
            return False
        self._looks = self._pause = min(2 * self._pause or 1, _MOST_LOOKS)
        return True


def _release(tid: int, status: int) -> None:
    """Let go of a thread, with the signal that it has stopped for, unless it has ended."""
    if os.WIFSTOPPED(status):
        with contextlib.suppress(ptrace.Gone):
            Tracee(tid).detach(ptrace.signal_of(status))
