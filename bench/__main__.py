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

from bench import cpu_time, debian_qemu, guard, plot
from bench.build import build
from bench.by_gdb import GDB
from bench.report import DRAWING, Results, cpu_table, page, table
from bench.rows import ROWS, Row
from bench.run import COUNTING, Bench
from bench.stubs import FLOOR, FOREIGN, OURS, QEMU, Place
from gdbstub.lab.host import Lab
from gdbstub.lab.qemu import PROGRAM as LAB_PROGRAM
from gdbstub.lab.qemu import Options

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "benchmarks.md"
#: Heading from which on the page is written by hand, and kept.
NOTES: Final = "## What each change bought"


def main() -> None:
    """Measure what the command line selects."""
    asked = _arguments()
    rows = [row for row in ROWS if asked.only in row.name]
    if not rows:
        names = "\n  ".join(row.name for row in ROWS)
        sys.exit(f"--only {asked.only}: no row has this; they are\n  {names}")
    if asked.renew:
        guard.renew()
        return
    results = Results()
    if asked.cpu:
        cpu_time.measure(results.cpu)
        print(*cpu_table(results.cpu), sep="\n")
        return
    parts = [part for part in ("wall", "counts", "growth") if getattr(asked, part)]
    whole = not (asked.quick or asked.only or asked.ours or asked.foreign or parts)
    parts = parts or ["wall", "counts", *["growth"] * whole]
    facts = _measure(asked, parts, rows, results)
    if not whole:
        return
    cpu_time.measure(results.cpu)
    (PAGE.parent / DRAWING).write_text(plot.svg(results.panels))
    old = PAGE.read_text() if PAGE.exists() else ""
    notes = [NOTES + old.partition(NOTES)[2].rstrip("\n"), ""] if NOTES in old else []
    PAGE.write_text(page(results, facts, notes))
    print(f"{PAGE} is written", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    say = parser.add_argument
    say("--suite", default="", help="the Debian suite of QEMU (default: this machine's)")
    say("--passes", type=int, default=3, metavar="N")
    say("--renew", action="store_true", help=f"count ours alone, and write {guard.file().name}")
    select = parser.add_argument_group("selection; the page is not written then")
    say = select.add_argument
    say("--quick", action="store_true", help="one short pass")
    say("--only", default="", metavar="TEXT", help="rows whose names have TEXT")
    say("--ours", action="store_true", help="leave QEMU and the floor in C out")
    say("--foreign", action="store_true", help="a guest of QEMU under gdbstub launch, too")
    say("--wall", action="store_true", help="wall time")
    say("--counts", action="store_true", help="instructions")
    say("--growth", action="store_true", help="growth")
    say("--cpu", action="store_true", help="CPU time of this machine, beside gdbserver's, alone")
    return parser.parse_args()


def _measure(
    asked: argparse.Namespace, parts: list[str], rows: list[Row], results: Results
) -> dict[str, str]:
    """Measure in labs; return the facts for the page."""
    tree = None if asked.ours else debian_qemu.prepare(asked.suite)
    stubs = (OURS,) if asked.ours else (QEMU, OURS, *[FOREIGN] * asked.foreign)
    passes = 1 if asked.quick else asked.passes
    load = os.getloadavg()[0]
    facts = {"passes": str(passes), "qemu": tree.qemu if tree else ""}
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        programs = build(Path(work))
        if "counts" in parts:
            with Lab.boot(COUNTING) as lab:
                bench = Bench(Place(lab, programs.files, tree), programs, results, counting=True)
                bench.once((*stubs, *[FLOOR] * (not asked.ours)), rows)
        if "wall" in parts or "growth" in parts:
            with Lab.boot(Options(vhe=True)) as lab:
                place = Place(lab, programs.files, tree)
                bench = Bench(place, programs, results, quick=asked.quick)
                for number in range(passes if "wall" in parts else 0):
                    print(f"pass {number + 1} of {passes}", flush=True)
                    bench.once(stubs, rows)
                if "wall" in parts:
                    bench.false_hits()
                if "growth" in parts:
                    bench.growth(stubs)
                facts |= _facts(lab, load)
    if asked.quick:
        print("quick: a tenth of the work in the rows that name an amount")
    print(*table(results, rows), sep="\n", flush=True)
    return facts


def _facts(lab: Lab, load: float) -> dict[str, str]:
    """Return the facts on the page about the machine and the programs."""
    python = "import platform; print(platform.python_version())"
    outer = _first_line(LAB_PROGRAM, "--version").partition(" (")[0]
    described = _first_line("git", "-C", str(ROOT), "describe", "--always", "--dirty")
    return {
        "outer": outer.replace("emulator version ", ""),
        "gdb": _first_line(GDB, "--version"),
        "gdbserver": cpu_time.version(),
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
