"""Figures of this stub in instructions, which ``make test`` compares a run with.

``make bench ARGS=--renew`` writes them anew. Each file is of one Debian release: its Python, kernel
and compiler are what executes the instructions. A release without a file has nothing to compare.
"""

import json
import tempfile
from pathlib import Path
from typing import Final

from bench import rows
from bench.build import build
from bench.report import Results, count
from bench.run import COUNTING, Bench
from bench.stubs import OURS, Place
from gdbstub.lab import debian
from gdbstub.lab.host import Lab

#: The release whose file has no name in its own.
_FIRST: Final = "bookworm"
#: A figure may be greater by this factor. Two runs differ by less than 1 %.
MARGIN: Final = 1.05


#: Rows that are compared: those of one vCPU, for which the stub is started once. What the prepared
#: process leaves of a start is in the other start, too.
ROWS: Final = tuple(
    row
    for row in rows.ROWS
    if row.instructions and row.vcpus == 1 and row.measure is not rows.prepared_start
)


def measure() -> dict[str, int]:
    """Count the instructions of each of ``ROWS``, in a lab of its own."""
    results = Results()
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        programs = build(Path(work))
        with Lab.boot(COUNTING) as lab:
            place = Place(lab, programs.files)
            Bench(place, programs, results, counting=True).once((OURS,), ROWS)
    return {row: round(number) for (row, _), number in results.counts.items()}


def file() -> Path:
    """Return the path of the file of this machine's release; it may not be there."""
    codename = debian.release().split()[-1]
    suffix = "" if codename == _FIRST else f"-{codename}"
    return Path(__file__).with_name(f"instructions{suffix}.json")


def renew() -> None:
    """Write the figures of now."""
    file().write_text(json.dumps(measure(), indent=4) + "\n")
    print(f"{file()} is written", flush=True)


def committed() -> dict[str, int]:
    """Return the figures of the file; empty if there is none."""
    figures: dict[str, int] = json.loads(file().read_text()) if file().exists() else {}
    return figures


def complaints(before: dict[str, int], now: dict[str, int]) -> list[str]:
    """Describe each figure of *now* that is too great, and each row that is in one of them only."""
    found = [
        f"{row}: {count(now[row])} instructions, {now[row] / number - 1:+.1%} over the "
        f"{count(number)} of {file().name}; expected at most {MARGIN - 1:+.0%}"
        for row, number in before.items()
        if row in now and now[row] > MARGIN * number
    ]
    found += [f"{row}: not counted" for row in before if row not in now]
    found += [f"{row}: not in {file().name}" for row in now if row not in before]
    return found
