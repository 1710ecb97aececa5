"""Summary of a sweep: its outcomes by parameters and by signature, as values and as lines."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gdbstub.sweep.outcome import FAILURES, RunOutcome, Status
from gdbstub.sweep.plan import GUEST, KASLR_SEED, SweepRun
from gdbstub.sweep.rows import Row


class Group(NamedTuple):
    """Runs that failed with one signature, the first of them by number first."""

    signature: str
    rows: list[Row]

    @property
    def name(self) -> str:
        """Short name, the same in each sweep."""
        return hashlib.sha256(self.signature.encode()).hexdigest()[:8]


def groups(rows: Iterable[Row]) -> list[Group]:
    """Group the runs that did not pass by their signatures, the biggest group first."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row.outcome is not None and row.outcome.signature:
            found.setdefault(row.outcome.signature, []).append(row)
    return sorted((Group(*item) for item in found.items()), key=lambda group: -len(group.rows))


class Labels:
    """Labels of runs, with their guests by the parts of the paths in which they differ."""

    def __init__(self, rows: Iterable[Row]) -> None:
        """Look at the guests of *rows*."""
        guests = {row.run.parameters[GUEST] for row in rows if GUEST in row.run.parameters}
        common = os.path.commonpath([os.path.dirname(guest) for guest in guests]) if guests else ""
        self._guests = {guest: os.path.relpath(guest, common) for guest in guests}

    def of(self, run: SweepRun, names: Iterable[str] | None = None) -> str:
        """Return the parameters of *run*, or those that have *names*, as one line."""
        found = run.parameters
        return " ".join(
            f"{name}={self._guests[found[name]] if name == GUEST else found[name]}"
            for name in (found if names is None else names)
            if name in found
        )


def tally(rows: Sequence[Row], varied: Sequence[str]) -> dict[str, dict[Status | None, int]]:
    """Count the outcomes of each combination of parameters; None: without an outcome."""
    counts: dict[str, dict[Status | None, int]] = {}
    labels = Labels(rows)
    names = [name for name in varied if name != KASLR_SEED]
    for row in rows:
        by_status = counts.setdefault(labels.of(row.run, names) or "all runs", {})
        status = row.outcome.status if row.outcome else None
        by_status[status] = by_status.get(status, 0) + 1
    return counts


def line(run: SweepRun, outcome: RunOutcome) -> str:
    """Describe the outcome of one run in one line."""
    why = outcome.message if outcome.status is Status.ERROR else outcome.signature
    parts = [f"run {run.number}", outcome.status.value, f"{outcome.seconds:.1f} s", run.label, why]
    return "  ".join(part for part in parts if part)


def counted(counts: dict[Status, int], total: int) -> str:
    """Say how many of *total* runs have each outcome."""
    done = sum(counts.values())
    failed = sum(counts[status] for status in FAILURES)
    text = f"{done} of {total} runs: {counts[Status.PASSED]} passed, {failed} failed"
    return f"{text}, {counts[Status.ERROR]} in error" if counts[Status.ERROR] else text
