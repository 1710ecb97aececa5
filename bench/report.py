"""The page docs/benchmarks.md: the table, its explanation, and the figures of the drawings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from bench import plot
from bench.growth import Panel
from bench.ioctls import Calls
from bench.plot import digits
from bench.rows import ROWS, Row
from bench.stubs import OURS, OURS_UVLOOP, QEMU

DRAWING: Final = "benchmarks.svg"
#: Name of the measurement in QEMU's column for a row that QEMU cannot do.
BARE: Final = "bare loop"

_HEAD: Final = """\
# What it costs

`make bench` wrote this page on {date}, but for its last sections. It boots one lab host (1 emulated
core, `-cpu max,pauth-impdef=on`), runs the same bare-metal guest there (MMU and caches on) under
Debian's QEMU {qemu} and under this project's stub, in turn (passes of each: {passes}), and lets the
same compiled client, inside that host and over loopback, ask both. The rows of GDB are a real
{gdb} on the machine outside, over the same forwarded port for both.

Figures are medians of the passes, with the least and the greatest. The host is emulated: ratios
mean something, the rest does not.

| | |
|---|---|
| measured with | {machine}; load before the run {load} |
| the host's emulator | {outer} |
| its kernel | {kernel} |
| its Python | {python}, with asyncio's own event loop, and with uvloop {uvloop} |
| this project | {commit} |

"""

_METHOD: Final = """
What each row does:

- Rounds: the client sends a packet, waits for its reply, and so on for some seconds; the guest is
  in the middle of its laps. Acks are off where the stub offers it (ours does, QEMU does not).
- The dump reads 16 MB that are no zeros, by `x` where the stub offers it and else by `m`, as much
  at a time as GDB asks for: half of the stub's PacketSize.
- Ctrl-C: every vCPU computes; from the byte 0x03 to the stop reply, the median of 30.
- Ioctls: strace counts what 17 steps take and what one takes; the difference by 16.
- Conditional breakpoint: `break place if lap == N`, 1,000 laps before. QEMU leaves the condition to
  GDB; here the stub evaluates it. From `continue` to the stop, as GDB itself sees it.
- Start: from `fork` to a listening socket; the guest is loaded by then.
- Range stepping: `vCont;r` through a loop, against 60 lines of Python that do nothing but
  KVM_RUN and KVM_GET_ONE_REG of PC (`bench/bare_loop.py`), measured right before and after.
"""

_GROWTH: Final = """\
Both axes are logarithmic, so a slope of 1 is linear growth; the steepest between two neighbours is
named below each table. Each figure is the least of three.
"""


@dataclass(slots=True)
class Results:
    """Figures of a run: one for each pass, by the names of the row and the stub."""

    passes: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    calls: dict[str, Calls] = field(default_factory=dict)
    panels: list[Panel] = field(default_factory=list)

    def add(self, row: str, stub: str, figure: float) -> None:
        """Add the figure of one pass."""
        self.passes.setdefault((row, stub), []).append(figure)

    def of(self, row: Row, stub: str) -> float | None:
        """Return the median of all passes; None if there is none."""
        figures = self.passes.get((row.name, stub))
        return median(figures) if figures else None

    def cell(self, row: Row, stub: str) -> str:
        """Format the median with the least and the greatest figure."""
        if not (figures := self.passes.get((row.name, stub))):
            return ""
        middle = figure(median(figures), row.unit)
        if len(figures) == 1:
            return middle
        return f"{middle} ({digits(min(figures))}–{digits(max(figures))})"


def figure(value: float, unit: str) -> str:
    """Format a figure with its unit."""
    return f"{digits(value)} {unit}".rstrip()


def table(results: Results, rows: Sequence[Row] = ROWS) -> list[str]:
    """Format the rows as a Markdown table."""
    found = [
        _line("work", "QEMU", "gdbstub", "with uvloop", "ratio", "goal", "met"),
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        other = BARE if row.floor else QEMU.name
        name = f"{row.name} (against a bare loop)" if row.floor else row.name
        cells = [results.cell(row, stub) for stub in (other, OURS.name, OURS_UVLOOP.name)]
        found.append(_line(name, *cells, *_judged(results, row, other)))
    return found


def _judged(results: Results, row: Row, other: str) -> tuple[str, str, str]:
    """Format the ratio, the goal, and the result, by the better of the two event loops."""
    goal = f"at most {row.goal:g}" if row.absolute else f"{row.goal:g} ×"
    theirs, plain = results.of(row, other), results.of(row, OURS.name)
    fast = results.of(row, OURS_UVLOOP.name)
    if theirs is None or plain is None:
        return "", goal, "not measured"
    ratios = [f"{digits(row.ratio(ours, theirs))} ×" for ours in (plain, fast) if ours]
    if row.met(plain, theirs):
        met = "yes"
    else:
        met = "with uvloop" if fast and row.met(fast, theirs) else "**no**"
    return " / ".join(ratios), goal, met


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def page(results: Results, facts: dict[str, str], notes: Sequence[str]) -> str:
    """Format the page; *notes* are the lines below the figures that were written by hand."""
    parts = [_HEAD.format(**facts) + "\n".join(table(results)), _METHOD]
    if results.calls:
        parts.append("The ioctls of a step:\n")
        for name, calls in results.calls.items():
            most = sorted(calls.items(), key=lambda call: -call[1])
            parts.append(f"- {name}: {', '.join(f'{n:.3g} {call}' for call, n in most)}")
        parts.append("")
    if results.panels:
        parts += ["## How it grows", "", f"![Cost against number]({DRAWING})", "", _GROWTH]
        for panel in results.panels:
            parts += [*plot.table(panel), *panel.verdicts(), ""]
    return "\n".join([*parts, *notes])
