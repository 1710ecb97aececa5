"""``make bench``: both stubs in one lab, in turn, and a page of what they cost."""

import argparse
import platform
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from bench import debian_qemu, growth, ioctls, plot, rows
from bench.build import Programs, build
from bench.by_gdb import GDB
from bench.report import DRAWING, Results, figure, page
from bench.stubs import OURS, QEMU, Place, Serving, Stub
from gdbstub.lab.host import Lab

DOCS: Final = Path(__file__).parents[1] / "docs"
#: From here on the page is written by people, and kept.
NOTES: Final = "## What each change bought"

START: Final = rows.Row("process start to listening", "ms", 1, lambda _: 0, less=True)


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short pass; writes nothing")
    parser.add_argument("--suite", default="", help="the Debian suite of QEMU (default: ours)")
    parser.add_argument("--passes", type=int, default=3, metavar="N")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose names have TEXT")
    parser.add_argument("--ours", action="store_true", help="leave QEMU out")
    asked = parser.parse_args()
    tree = debian_qemu.prepare(asked.suite)
    stubs = (OURS,) if asked.ours else (QEMU, OURS)
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        programs = build(Path(work), tree)
        with Lab.boot() as lab:
            place = Place(lab, tree, programs.files)
            bench = Bench(place, programs, 1 if asked.quick else 3, quick=asked.quick)
            for _ in range(1 if asked.quick else asked.passes):
                bench.once(stubs, asked.only)
            if asked.quick or asked.only or asked.ours:
                return
            bench.results.panels = list(growth.panels(place, stubs, programs, 1))
            facts = _facts(lab, tree.qemu, asked.passes)
    (DOCS / DRAWING).write_text(plot.svg(bench.results.panels))
    target = DOCS / "benchmarks.md"
    old = target.read_text() if target.exists() else ""
    notes = [NOTES + old.partition(NOTES)[2].rstrip("\n"), ""] if NOTES in old else []
    target.write_text(page(bench.results, START, facts, notes))


class Bench:
    """The passes of one run."""

    def __init__(self, place: Place, programs: Programs, seconds: float, *, quick: bool) -> None:
        """Nothing is measured yet."""
        self.results = Results()
        self._place, self._programs = place, programs
        self._seconds, self._quick = seconds, quick

    def once(self, stubs: tuple[Stub, ...], only: str) -> None:
        """Every row with each of *stubs*, one stub after the other."""
        for stub in stubs:
            for vcpus in sorted({row.vcpus for row in rows.ROWS}):
                wanted = [row for row in rows.ROWS if row.vcpus == vcpus and only in row.name]
                wanted = [row for row in wanted if stub is OURS or not row.alone]
                if wanted:
                    self._measure(stub, vcpus, wanted)
            if only in START.name:
                self._note(START, stub, rows.start(self._place, stub))
        if any(row.alone and only in row.name for row in rows.ROWS):
            self.results.bare.append(rows.bare_loop(self._place, self._seconds))
            print(f"bare loop: {figure(self.results.bare[-1], '/s')}", flush=True)

    def _measure(self, stub: Stub, vcpus: int, wanted: list[rows.Row]) -> None:
        with Serving(self._place, stub, vcpus) as serving:
            run = rows.Run(serving, self._programs, self._seconds, self._quick)
            if vcpus == 1 and stub.name not in self.results.ioctls:
                self.results.ioctls[stub.name] = calls = ioctls.for_a_step(serving)
                print(f"{stub.name}: ioctls for a step: {calls.total()} {dict(calls)}", flush=True)
            for row in wanted:
                self._note(row, stub, row.measure(run))

    def _note(self, row: rows.Row, stub: Stub, measured: float) -> None:
        self.results.add(row.name, stub.name, measured)
        print(f"{stub.name}: {row.name}: {figure(measured, row.unit)}", flush=True)


def _facts(lab: Lab, qemu: str, passes: int) -> dict[str, str]:
    """What the page says of where it was measured."""
    python = "import platform; print(platform.python_version())"
    gdb = subprocess.run([GDB, "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "lab": "1 emulated core, `-cpu max,pauth-impdef=on`",
        "qemu": qemu,
        "passes": str(passes),
        "gdb": gdb.splitlines()[0],
        "machine": f"{platform.machine()}, {platform.system()}",
        "python": lab.run(["python3", "-c", python]).stdout.decode().strip(),
        "loop": "asyncio's own event loop",
        "kernel": lab.run(["uname", "-r"]).stdout.decode().strip(),
    }


if __name__ == "__main__":
    main()
