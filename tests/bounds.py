"""Bound of a test's waits: however slow the machine is, what has not come by then does not come."""

from typing import Final

#: In seconds. It decides nothing but when a hang is told.
HANGS: Final = 150.0
