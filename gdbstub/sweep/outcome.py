"""The outcome of a run: one row of the results."""

import enum
from typing import NamedTuple


class Status(enum.StrEnum):
    """Outcome of a run in one word."""

    PASSED = "passed"
    FAILED = "failed"
    #: The script took longer than its time.
    TIMEOUT = "timeout"
    #: The script did not run to its end for a reason that is not the guest's.
    ERROR = "error"


#: Outcomes that are failures of what is tested.
FAILURES = (Status.FAILED, Status.TIMEOUT)


class RunOutcome(NamedTuple):
    """Outcome of one run. It is a value, which travels between hosts."""

    number: int
    status: Status
    #: Exit status of the script; None if it did not end by itself.
    exit_status: int | None = None
    #: Last stop reply that the client was sent: ``watch``, ``SIGABRT``, ``running`` …
    stop_reason: str = ""
    #: Functions of the last backtrace that the script printed, innermost first.
    backtrace: str = ""
    seconds: float = 0.0
    #: Time of its start, in seconds since 1970.
    began: float = 0.0
    host: str = ""
    #: Directory of its files, relative to the sweep's.
    files: str = ""
    #: End of the guest's console.
    console: str = ""
    #: End of what the script and ``gdbstub run`` printed.
    output: str = ""
    #: Reason of an error, in one line.
    message: str = ""
    #: Number of the attempt that this is the outcome of, from 1.
    attempt: int = 1

    @property
    def is_repeated(self) -> bool:
        """True if another execution may have a verdict: its script did not end, and so has none."""
        return self.status is Status.ERROR and self.exit_status is None

    @property
    def signature(self) -> str:
        """Return the group of failures that it belongs to; empty if it passed."""
        if self.status is Status.PASSED:
            return ""
        if self.status is Status.ERROR:
            return "error"
        ended = "timeout" if self.exit_status is None else f"status {self.exit_status}"
        return " · ".join(part for part in (ended, self.stop_reason, self.backtrace) if part)
