"""``make matrix``: the contract and kvm rings on one kind of hardware after another.

It runs pytest once for each, as many at a time as there are cores, for a lab of one kind has one.
Each line of theirs begins with the kind's number; a table is the end. Arguments go to pytest:
``--long`` for the long variants of tests, with which it takes two hours.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table

ROOT: Final = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Hardware:
    """A kind of lab: what it is called, and the options of pytest that ask for it."""

    name: str
    options: Sequence[str] = ()
    #: Markers of tests that are not for this hardware.
    lacks: Sequence[str] = ()


MATRIX: Final = (
    Hardware("max (VHE), GICv3", ["--lab-vhe"]),
    Hardware("cortex-a57 (nVHE), GICv3", ["--lab-cpu=cortex-a57"], ["sve"]),
    Hardware("max (VHE), GICv2", ["--lab-gic=2", "--lab-vhe"]),
    # Its KVM has other debug code than kernels before 6.14.
    Hardware(
        "max (VHE), GICv3, newest kernel",
        ["--lab-kernel=trixie-backports", "--guest-kernel=trixie-backports", "--lab-vhe"],
    ),
)
#: Tests that depend on the hardware: not the lab itself (VHE has no prepared process to fork, nor a
#: snapshot), nor how scripts end, nor what boots its own.
TESTS: Final = (
    "tests/contract",
    "tests/kvm",
    "--ignore=tests/kvm/test_confined.py",
    "--ignore=tests/kvm/test_lab.py",
    "--ignore=tests/kvm/test_script.py",
    "--ignore=tests/kvm/test_snapshot.py",
    "--ignore=tests/kvm/test_memory_tags.py",
    "--ignore=tests/kvm/test_instructions.py",
)


@dataclass(frozen=True, slots=True)
class Result:
    """Outcome of the tests on one kind of hardware."""

    hardware: Hardware
    status: int
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0

    @property
    def words(self) -> str:
        """The verdict of one row."""
        if self.status == 0 and self.passed:
            return "passed"
        return "failed" if self.failed else f"pytest ended with status {self.status}"


def run(arguments: Sequence[str], place: int, hardware: Hardware) -> Result:
    """Run the tests on *hardware*, the one at *place* in the list."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.xml"
        argv = [sys.executable, "-m", "pytest", f"--junit-xml={report}", *TESTS]
        marks = " and ".join(f"not {mark}" for mark in ("other_hardware", *hardware.lacks))
        argv += ["-m", marks, "-k", "not fake", "--stubs-at-once=1", *hardware.options, *arguments]
        start = time.monotonic()
        pipe, both = subprocess.PIPE, subprocess.STDOUT
        with subprocess.Popen(argv, cwd=ROOT, stdout=pipe, stderr=both, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                print(f"{place}: {line}", end="", flush=True)
        status = process.returncode
        seconds = time.monotonic() - start
        if not report.exists():
            return Result(hardware, status, seconds=seconds)
        suite = ElementTree.parse(report).find("testsuite")
    assert suite is not None
    names = ("tests", "failures", "errors", "skipped")
    tests, failures, errors, skipped = (int(suite.get(name, 0)) for name in names)
    bad = failures + errors
    return Result(hardware, status, tests - bad - skipped, bad, skipped, seconds)


def table(results: Sequence[Result]) -> Table:
    """The table of hardware and results."""
    rows = Table("hardware", "result", "passed", "failed", "skipped", "minutes")
    for each in results:
        counts = (each.passed, each.failed, each.skipped)
        rows.add_row(each.hardware.name, each.words, *map(str, counts), f"{each.seconds / 60:.1f}")
    return rows


def main(arguments: Sequence[str]) -> int:
    """Run all of the matrix; 0 if everything passed everywhere."""
    for place, hardware in enumerate(MATRIX, 1):
        print(f"{place}: {hardware.name}", flush=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(partial(run, arguments), range(1, len(MATRIX) + 1), MATRIX))
    Console().print(table(results))
    return int(any(each.words != "passed" for each in results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
