"""Watchdog: makes vCPUs leave the guest when the time is up that a run of theirs was given.

Its thread exists from the first such run on. It looks a few hundred times a second while there
are any, and sleeps otherwise, so that to begin and to end a run costs a dictionary's update.
"""

import threading
from time import monotonic
from typing import Final, Protocol

#: Seconds between two looks.
_TICK: Final = 0.005
#: Looks at nothing before it sleeps.
_IDLE: Final = 200


class WatchedVcpu(Protocol):
    """A vCPU, as the watchdog sees it."""

    def kick(self) -> None:
        """Make it leave the guest."""
        ...


class Watchdog:
    """The deadlines of one machine's vCPUs, and the thread that looks at them."""

    def __init__(self) -> None:
        """Watch nothing yet."""
        self._deadlines: dict[WatchedVcpu, float] = {}
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    def watch(self, vcpu: WatchedVcpu, deadline: float | None) -> None:
        """Kick *vcpu* from *deadline* on, by ``monotonic``, again and again; None: no more."""
        if deadline is None or self._closing:
            self._deadlines.pop(vcpu, None)
            return
        self._deadlines[vcpu] = deadline
        if not self._wake.is_set():
            self._wake.set()
        if self._thread is None:
            thread = threading.Thread(target=self._life, name="watchdog", daemon=True)
            thread.start()
            self._thread = thread

    def close(self) -> None:
        """Kick no vCPU any more. Called before they are closed."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _life(self) -> None:
        idle, rest = 0, threading.Event()
        while not self._closing:
            now = monotonic()
            deadlines = list(self._deadlines.items())
            for vcpu, deadline in deadlines:
                if deadline <= now:
                    vcpu.kick()
            idle = 0 if deadlines else idle + 1
            if idle > _IDLE:
                self._wake.clear()
                if not self._deadlines and not self._closing:  # in this order: see ``watch``
                    self._wake.wait()
                idle = 0
            rest.wait(_TICK)
