"""Passes over the rows, for one stub after another, in one lab: by wall time or in instructions."""

import subprocess
import time
from collections.abc import Iterable, Sequence
from typing import Final

from bench import growth, plot
from bench.build import Programs
from bench.report import BARE, Results, count, figure
from bench.rows import Measurement, Row
from bench.stubs import FLOOR, FOREIGN, OURS, Place, Serving, Stub
from gdbstub.lab.qemu import Options

#: The lab whose clock counts instructions.
COUNTING: Final = Options(icount=True, vhe=True)
#: Rows that ``false_hits.c`` measures.
FALSE_HITS: Final = (
    "comparator, instruction simulated",
    "comparator, instruction stepped over",
    "BRK, taken out of RAM for the step",
)
#: Rounds to count. The first ones cost more, so a stub that serves is measured twice.
_ROUNDS: Final = "60x"


class Bench:
    """Passes of one run in one lab; *counting* says that the lab's clock counts instructions."""

    def __init__(
        self,
        place: Place,
        programs: Programs,
        results: Results,
        *,
        quick: bool = False,
        counting: bool = False,
    ) -> None:
        """Prepare for measurements in *place*."""
        self.results = results
        self._place, self._programs = place, programs
        self._quick, self._counting = quick, counting
        self._start = time.monotonic()

    def once(self, stubs: Sequence[Stub], rows: Iterable[Row]) -> None:
        """Measure, with one of *stubs* after the other, each of *rows* that applies to it."""
        rows = [row for row in rows if row.instructions or not self._counting]
        for stub in stubs:
            mine = [row for row in rows if _applies(row, stub)]
            for vcpus in sorted({row.vcpus for row in mine if row.serves}):
                self._serve(stub, vcpus, [r for r in mine if r.serves and r.vcpus == vcpus])
            idle = self._run(Serving(self._place, stub))
            for row in mine:
                if not row.serves:
                    self._measure(row, idle)

    def false_hits(self) -> None:
        """Measure false hits in a bare loop in C."""
        argv = ["/files/false_hits", "200" if self._quick else "3000"]
        taken = [int(number) / 1e6 for number in self._place.lab.run(argv).stdout.split()]
        self.results.false_hits = dict(zip(FALSE_HITS, taken, strict=True))

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
        limit = _ROUNDS if self._counting else "1" if self._quick else "3"
        quick = self._quick or self._counting
        return Measurement(serving, self._programs, limit, quick, self.results.calls)

    def _serve(self, stub: Stub, vcpus: int, rows: list[Row]) -> None:
        with Serving(self._place, stub, vcpus) as serving:
            serving.begin(self._programs.symbols.symbol("place"))
            run = self._run(serving)
            for row in rows:
                self._measure(row, run)

    def _measure(self, row: Row, run: Measurement) -> None:
        try:
            if self._counting:
                self._count(row, run)
            else:
                self._time(row, run)
        except (RuntimeError, subprocess.SubprocessError) as error:
            self._say(run.serving.stub.name, row.name, f"FAILED: {error}")

    def _count(self, row: Row, run: Measurement) -> None:
        times = 2 if row.serves else 1
        number = min(row.instructions_of(row.measure(run)) for _ in range(times))
        self.results.counts[row.name, run.serving.stub.name] = number
        self._say(run.serving.stub.name, row.name, f"{count(number)} instructions")

    def _time(self, row: Row, run: Measurement) -> None:
        stub = run.serving.stub
        floors = [row.floor(run)] if row.floor else []
        measured = row.measure(run)
        floors += [row.floor(run)] if row.floor else []
        self.results.add(row.name, stub.name, measured)
        self._say(stub.name, row.name, figure(measured, row.unit))
        for floor in floors:
            self.results.add(row.name, BARE, floor)
            self._say(BARE, row.name, figure(floor, row.unit))

    def _say(self, stub: str, what: str, text: str) -> None:
        print(f"{time.monotonic() - self._start:5.0f} s  {stub:15} {what}: {text}", flush=True)


def _applies(row: Row, stub: Stub) -> bool:
    """Return True if *stub* can do what *row* asks."""
    if stub is FLOOR:
        return row.vcpus == 1
    # strace cannot trace what is traced already.
    return not (row.floor and stub is not OURS) and (row.serves or stub is not FOREIGN)
