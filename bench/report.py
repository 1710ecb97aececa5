"""What was measured, as docs/benchmarks.md: the table, what it means, the drawings' figures."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from bench.growth import Panel
from bench.plot import table
from bench.rows import ROWS, Row

DRAWING: Final = "benchmarks.svg"
STEP_GOAL: Final = 16

_HEAD: Final = """\
# What it costs

`make bench` wrote this page. It boots one lab host ({lab}), runs the same
bare-metal guest (MMU and caches on) under Debian's QEMU {qemu} and under this project's stub in
turn, {passes} passes of each, and lets the same compiled client, inside that host and over
loopback, ask both. The rows of GDB are {gdb} on the machine
outside, over the same forwarded port for both. Figures are medians of the passes. The host is
emulated, on {machine}: ratios mean something, the rest does not.

Python {python}, {loop}, kernel {kernel}.

| work | QEMU | gdbstub | ratio | goal |
|---|---:|---:|---:|---:|
"""


@dataclass(slots=True)
class Results:
    """All figures of a run; by row's name and stub's name, a figure for each pass."""

    passes: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    ioctls: dict[str, Counter[str]] = field(default_factory=dict)
    bare: list[float] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)

    def add(self, row: str, stub: str, figure: float) -> None:
        """Note one pass."""
        self.passes.setdefault((row, stub), []).append(figure)

    def of(self, row: str, stub: str) -> float | None:
        """The median of all passes."""
        figures = self.passes.get((row, stub))
        return median(figures) if figures else None


def figure(value: float, unit: str) -> str:
    """A figure with three digits that count."""
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def lines(results: Results, start: Row) -> list[str]:
    """The rows of the table."""
    found: list[str] = []
    for row in (*ROWS, start):
        ours, qemu = results.of(row.name, "gdbstub"), results.of(row.name, "QEMU")
        if ours is None:
            continue
        if row.alone:
            qemu, name = median(results.bare), f"{row.name} (instead of QEMU: a bare loop)"
        else:
            name = row.name
        if qemu is None:
            continue
        cells = [name, figure(qemu, row.unit), figure(ours, row.unit)]
        found.append(_line(*cells, f"{row.ratio(ours, qemu):.2f}", f"{row.goal:g}"))
    totals = {name: calls.total() for name, calls in results.ioctls.items()}
    if totals:
        cells = [str(totals["QEMU"]), str(totals["gdbstub"])]
        found.append(_line("KVM ioctls for one `vCont;s`", *cells, "", f"at most {STEP_GOAL}"))
    return found


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def page(results: Results, start: Row, facts: dict[str, str], notes: Sequence[str]) -> str:
    """The whole page; *notes* is what people wrote below the figures."""
    parts = [_HEAD.format(**facts) + "\n".join(lines(results, start)), ""]
    if results.ioctls:
        parts.append("Of these ioctls:\n")
        for name, calls in results.ioctls.items():
            words = ", ".join(f"{number} {call}" for call, number in calls.most_common())
            parts.append(f"- {name}: {words}")
        parts.append("")
    if results.panels:
        parts += ["## How it grows", "", f"![Cost against number]({DRAWING})", ""]
        for panel in results.panels:
            parts += table(panel)
    return "\n".join([*parts, *notes])
