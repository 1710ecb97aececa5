"""Virtual counter of a machine's vCPUs, which stands still while all of them are parked.

It parks nothing: the machine says when all are.
"""

import logging
from collections.abc import Callable
from typing import Final

from gdbstub.aarch64.registers import CNTVCT_EL0
from gdbstub.errors import StubError
from gdbstub.kvm.one_reg import OneReg, VirtualClock

_log = logging.getLogger("gdbstub.kvm")


class VirtualCounter:
    """The ``machine.VirtualTime`` of a machine; *first* gives its first vCPU."""

    def __init__(self, first: Callable[[], OneReg]) -> None:
        """Let it stand still from the first ``stop`` on."""
        self._first = first
        self._stands_still = True
        #: The counter's value while it stands still, for the vCPUs.
        self.clock: Final = VirtualClock()

    @property
    def time_stands_still(self) -> bool:
        """True if the virtual counter stands still while all are parked (``VirtualTime``)."""
        return self._stands_still

    @time_stands_still.setter
    def time_stands_still(self, still: bool) -> None:
        first = self._first()
        now = first.get(CNTVCT_EL0)
        self._stands_still = still
        self.clock.stopped_at = now if still else None
        first.set(CNTVCT_EL0, now)

    def stop(self) -> None:
        """Note its value, if it is to stand still: all vCPUs are parked from here on."""
        if self._stands_still:
            self.clock.stopped_at = self._first().get(CNTVCT_EL0)

    def stop_or_warn(self) -> None:
        """Note its value as ``stop`` does; if it cannot be read, log that the time runs on."""
        try:
            self.stop()
        except StubError as error:  # the stop of the guest must be told, whatever becomes of this
            _log.warning("the guest's time runs on while it is halted: %s", error)

    def go_on(self) -> None:
        """Set it to the value that it had when it was stopped.

        Raises:
            StubError: it cannot be set; it still stands.
        """
        stopped_at, self.clock.stopped_at = self.clock.stopped_at, None
        if stopped_at is None:
            return
        try:
            # One write moves the counter of every vCPU.
            self._first().set(CNTVCT_EL0, stopped_at)
        except StubError:
            self.clock.stopped_at = stopped_at
            raise

    def forget(self) -> None:
        """Let it run: there is no vCPU any more whose counter it was."""
        self.clock.stopped_at = None
