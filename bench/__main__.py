"""``make bench``: measure QEMU's stub and this one in one lab, and write docs/benchmarks.md."""

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from bench import debian_qemu, growth, plot
from bench.build import Programs, build
from bench.by_gdb import GDB
from bench.report import BARE, DRAWING, Results, figure, page, table
from bench.rows import ROWS, Measurement, Row
from bench.stubs import OURS, OURS_UVLOOP, QEMU, Place, Serving, Stub
from gdbstub.lab.host import Lab
from gdbstub.lab.qemu import PROGRAM as LAB_PROGRAM
from gdbstub.lab.qemu import Options

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "benchmarks.md"
#: Heading from which on the page is written by hand, and kept.
NOTES: Final = "## What each change bought"


def main() -> None:
    """Measure what the command line selects."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short pass; writes nothing")
    parser.add_argument(
        "--suite", default="", help="the Debian suite of QEMU (default: this machine's)"
    )
    parser.add_argument("--passes", type=int, default=3, metavar="N")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="rows whose names have TEXT; writes nothing"
    )
    parser.add_argument("--ours", action="store_true", help="leave QEMU out; writes nothing")
    parser.add_argument("--growth", action="store_true", help="growth alone; writes nothing")
    asked = parser.parse_args()
    rows = [] if asked.growth else [row for row in ROWS if asked.only in row.name]
    if not rows and not asked.growth:
        parser.error(f"--only {asked.only}: no row has this; they are\n  " + "\n  ".join(names()))
    tree = debian_qemu.prepare(asked.suite)
    stubs = (OURS, OURS_UVLOOP) if asked.ours else (QEMU, OURS, OURS_UVLOOP)
    whole = not (asked.quick or asked.only or asked.ours or asked.growth)
    passes = 1 if asked.quick else asked.passes
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        programs = build(Path(work), tree)
        load = os.getloadavg()[0]
        with Lab.boot(Options(vhe=True)) as lab:
            bench = Bench(Place(lab, tree, programs.files), programs, quick=asked.quick)
            for number in range(passes if rows else 0):
                print(f"pass {number + 1} of {passes}", flush=True)
                bench.once(stubs, rows)
            if asked.quick:
                print("quick: a tenth of the work in the rows that name an amount")
            print(*table(bench.results, rows), sep="\n", flush=True)
            if whole or asked.growth:
                bench.growth(tuple(stub for stub in stubs if stub is not OURS_UVLOOP))
            if not whole:
                return
            facts = {**_facts(lab, load), "passes": str(passes)}
            facts |= {"qemu": tree.qemu, "uvloop": tree.uvloop}
    (PAGE.parent / DRAWING).write_text(plot.svg(bench.results.panels))
    old = PAGE.read_text() if PAGE.exists() else ""
    notes = [NOTES + old.partition(NOTES)[2].rstrip("\n"), ""] if NOTES in old else []
    PAGE.write_text(page(bench.results, facts, notes))
    print(f"{PAGE} is written", flush=True)


def names() -> list[str]:
    """Return the names of the rows."""
    return [row.name for row in ROWS]


class Bench:
    """Passes of one run, and their results."""

    def __init__(self, place: Place, programs: Programs, *, quick: bool) -> None:
        """Prepare for measurements in *place*."""
        self.results = Results()
        self._place, self._programs = place, programs
        self._quick = quick
        self._start = time.monotonic()

    def once(self, stubs: tuple[Stub, ...], rows: list[Row]) -> None:
        """Measure, with one of *stubs* after the other, each of *rows* that applies to it."""
        for stub in stubs:
            mine = [row for row in rows if row.loops or stub is not OURS_UVLOOP]
            mine = [row for row in mine if not (row.floor and stub is QEMU)]
            for vcpus in sorted({row.vcpus for row in mine if row.serves}):
                self._serve(stub, vcpus, [r for r in mine if r.serves and r.vcpus == vcpus])
            idle = self._run(Serving(self._place, stub))
            for row in mine:
                if not row.serves:
                    self._measure(row, idle)

    def growth(self, stubs: tuple[Stub, ...]) -> None:
        """Measure how costs grow with the number of vCPUs, breakpoints, watchpoints and bytes."""
        try:
            for panel in growth.panels(self._place, stubs, self._programs):
                self._say("", panel.title, "measured")
                print(*plot.table(panel), *panel.verdicts(), "", sep="\n", flush=True)
                self.results.panels.append(panel)
        except RuntimeError as error:  # what was measured before is not lost
            self._say("", "growth", f"FAILED: {error}")

    def _run(self, serving: Serving) -> Measurement:
        seconds = 1 if self._quick else 3
        return Measurement(serving, self._programs, seconds, self._quick, self.results.calls)

    def _serve(self, stub: Stub, vcpus: int, rows: list[Row]) -> None:
        with Serving(self._place, stub, vcpus) as serving:
            run = self._run(serving)
            if stub is OURS_UVLOOP and serving.loop == "asyncio":
                self._say(stub.name, "all rows", "left out: the stub does not use it")
                return
            serving.begin(self._programs.symbols.symbol("place"))
            for row in rows:
                self._measure(row, run)

    def _measure(self, row: Row, run: Measurement) -> None:
        stub = run.serving.stub
        try:
            floors = [row.floor(run)] if row.floor else []
            measured = row.measure(run)
            floors += [row.floor(run)] if row.floor else []
        except (RuntimeError, subprocess.SubprocessError) as error:
            self._say(stub.name, row.name, f"FAILED: {error}")
            return
        self.results.add(row.name, stub.name, measured)
        self._say(stub.name, row.name, figure(measured, row.unit))
        for floor in floors:
            self.results.add(row.name, BARE, floor)
            self._say(BARE, row.name, figure(floor, row.unit))

    def _say(self, stub: str, what: str, text: str) -> None:
        print(f"{time.monotonic() - self._start:5.0f} s  {stub:15} {what}: {text}", flush=True)


def _facts(lab: Lab, load: float) -> dict[str, str]:
    """Return the facts on the page about the machine and the programs."""
    python = "import platform; print(platform.python_version())"
    outer = _first_line(LAB_PROGRAM, "--version").partition(" (")[0]
    described = _first_line("git", "-C", str(ROOT), "describe", "--always", "--dirty")
    return {
        "outer": outer.replace("emulator version ", ""),
        "gdb": _first_line(GDB, "--version"),
        "machine": f"{platform.machine()} ({_processor()}), {os.cpu_count()} cores",
        "load": f"{load:.1f}",
        "commit": described,
        "python": lab.run(["python3", "-c", python]).stdout.decode().strip(),
        "kernel": lab.run(["uname", "-r"]).stdout.decode().strip(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _first_line(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


def _processor() -> str:
    match = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return match[1] if match else "?"


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
