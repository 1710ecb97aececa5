"""The fake's virtual counter: host time less an offset that stopping and writing move.

It raises no interrupt: there is no timer.
"""

import time
from typing import Final

#: Unicorn's CNTFRQ_EL0.
FREQUENCY: Final = 62_500_000


class Clock:
    """One counter for all vCPUs of a machine."""

    def __init__(self) -> None:
        self.stands_still = True
        self._offset = 0
        self._stopped_at: int | None = 0

    def read(self) -> int:
        if self._stopped_at is not None:
            return self._stopped_at
        return (_now() - self._offset) % (1 << 64)

    def write(self, value: int) -> None:
        if self._stopped_at is not None:
            self._stopped_at = value
        self._offset = _now() - value

    def stop(self) -> None:
        """All vCPUs are parked."""
        self._stopped_at = self.read() if self.stands_still else None

    def go(self) -> None:
        """Some vCPU will run."""
        self.write(self.read())
        self._stopped_at = None


def _now() -> int:
    return time.monotonic_ns() * FREQUENCY // 1_000_000_000
