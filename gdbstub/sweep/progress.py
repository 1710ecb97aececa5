"""Progress of a sweep on standard error: a live table on a terminal, lines elsewhere."""

import sys
import time
from typing import TYPE_CHECKING, Final, TextIO

from gdbstub.errors import printable
from gdbstub.sweep import summary
from gdbstub.sweep.outcome import FAILURES, RunOutcome, Status
from gdbstub.sweep.plan import SweepRun

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live

#: Seconds between two lines on the whole.
_LINE_SECONDS: Final = 30.0
#: Groups of failures that a table shows.
_GROUPS: Final = 8


class Lines:
    """Lines for a log: each run that does not pass, and now and then how far the sweep is."""

    def __init__(self, counts: dict[Status, int], total: int, stream: TextIO | None = None) -> None:
        """Begin at *counts* of *total* runs."""
        self._counts, self._total = dict(counts), total
        self._stream = stream or sys.stderr
        self._next = time.monotonic() + _LINE_SECONDS

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        self._say(summary.counted(self._counts, self._total))

    def grow(self, number: int) -> None:
        """Take note of *number* runs more."""
        self._total += number

    def finished(self, run: SweepRun, outcome: RunOutcome) -> None:
        """Say that a run did not pass."""
        self._counts[outcome.status] += 1
        if outcome.status is not Status.PASSED:
            self._say(summary.line(run, outcome))

    def repeated(self, run: SweepRun, why: str) -> None:
        """Say that a run is executed again."""
        self._say(f"run {run.number} is executed again: {why}")

    def tick(self, width: int) -> None:
        """Say how far the sweep is, if that is due."""
        if time.monotonic() >= self._next:
            self._next += _LINE_SECONDS
            note = "" if width else "; no worker is there: it waits for one"
            self._say(summary.counted(self._counts, self._total) + note)

    def _say(self, text: str) -> None:
        print(f"gdbstub: {printable(text)}", file=self._stream, flush=True)


class ProgressTable:
    """A live table: outcomes, rate, and the groups of failures."""

    def __init__(self, counts: dict[Status, int], total: int, stream: TextIO | None = None) -> None:
        """Begin at *counts* of *total* runs."""
        self._counts, self._total = dict(counts), total
        self._stream = stream or sys.stderr
        self._began = time.monotonic()
        self._done = 0
        self._groups: dict[str, tuple[int, int]] = {}
        self._note = ""
        self._live: Live | None = None

    def __enter__(self) -> "ProgressTable":
        # Importing rich costs a tenth of a second, so only those who see the table pay.
        from rich.console import Console
        from rich.live import Live

        # Drawn when something has changed, not by a thread of its own.
        console = Console(file=self._stream)
        self._live = Live(self._drawn(), console=console, auto_refresh=False)
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.update(self._drawn(), refresh=True)
            self._live.stop()

    def grow(self, number: int) -> None:
        """Take note of *number* runs more."""
        self._total += number

    def finished(self, run: SweepRun, outcome: RunOutcome) -> None:
        """Count a run."""
        self._counts[outcome.status] += 1
        self._done += 1
        if outcome.signature:
            times, first = self._groups.get(outcome.signature, (0, run.number))
            self._groups[outcome.signature] = times + 1, min(first, run.number)

    def repeated(self, run: SweepRun, why: str) -> None:
        """Show that a run is executed again."""
        self._note = f"run {run.number} is executed again: {why}"

    def tick(self, width: int) -> None:
        """Draw the table."""
        if not width:
            self._note = "no worker is there: it waits for one"
        if self._live is not None:
            self._live.update(self._drawn(), refresh=True)

    def _drawn(self) -> "Group":
        from rich.console import Group
        from rich.table import Table as Grid
        from rich.text import Text

        seconds = time.monotonic() - self._began
        rate = f"{60 * self._done / seconds:.0f} a minute" if seconds > 1 else ""
        failed = sum(self._counts[status] for status in FAILURES)
        counts = Grid(show_edge=False)
        for name in ("runs", "passed", "failed", "in error", "time", "rate"):
            counts.add_column(name, justify="right")
        counts.add_row(
            f"{sum(self._counts.values())} of {self._total}",
            str(self._counts[Status.PASSED]),
            Text(str(failed), "bold red" if failed else ""),
            str(self._counts[Status.ERROR]),
            f"{seconds:.0f} s",
            rate,
        )
        parts: list[Grid | Text] = [counts]
        if self._groups:
            grid = Grid("runs", "first", "signature", show_edge=False)
            most = sorted(self._groups.items(), key=lambda item: -item[1][0])
            for signature, (times, first) in most[:_GROUPS]:
                grid.add_row(str(times), str(first), Text(printable(signature)))
            parts.append(grid)
        if self._note:
            parts.append(Text(printable(self._note), "dim"))
        return Group(*parts)


def progress(counts: dict[Status, int], total: int) -> Lines | ProgressTable:
    """Return a live table if standard error is a terminal, else lines."""
    return (ProgressTable if sys.stderr.isatty() else Lines)(counts, total)
