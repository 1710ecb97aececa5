"""The page docs/benchmarks.md: the table, its explanation, and the figures of the drawings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from bench import cpu_time, plot
from bench.cpu_time import Figures
from bench.growth import Panel
from bench.ioctls import Calls
from bench.plot import digits
from bench.rows import ROWS, Row
from bench.stubs import FLOOR, OURS, QEMU

DRAWING: Final = "benchmarks.svg"
#: Name of the measurement in QEMU's column for a row that QEMU cannot do.
BARE: Final = "bare loop"

_HEAD: Final = """\
# Benchmarks

`make bench` wrote this page on {date}, but for its last sections. It boots one lab host (1 emulated
core, `-cpu max,pauth-impdef=on`), runs the same bare-metal guest there (MMU and caches on) under
Debian's QEMU {qemu} and under this project's stub, in turn (passes of each: {passes}), and lets the
same compiled client, inside that host and over loopback, ask both. The rows of GDB are a real
{gdb} on the machine outside, over the same forwarded port for both.

Figures are medians of the passes, with the least and the greatest. The host is emulated: ratios
mean something, the rest does not.

The columns of instructions are from a second lab, whose clock advances by a nanosecond for each
instruction that it executes (`-icount shift=0`). So the same client counts the instructions of the
whole lab for a round trip: its own, the host kernel's, the stub's and the guest's. They are the
same within 1 % in each run, however busy the machine is. The C floor is a stub in C that does only
what the rows ask of it (`bench/floor.c`). `make test` fails where a figure of this stub is 5 % over
that in `bench/instructions.json`.

| | |
|---|---|
| measured with | {machine}; load before the run {load} |
| the host's emulator | {outer} |
| its kernel | {kernel} |
| its Python | {python} |
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
- False hit: `break place if lap == N`. QEMU leaves the condition to GDB; here the stub evaluates
  it. From `continue` to the stop, as GDB itself sees it: the difference of 1,000 and 100 hits, by
  900.
- Start: from `fork` to a listening socket; the guest is loaded by then. The prepared process is
  that of every warm lab: it has imported the project, and forks for each `gdbstub`.
- Range stepping: `vCont;r` through a loop, against 60 lines of Python that do nothing but
  KVM_RUN and KVM_GET_ONE_REG of PC (`bench/bare_loop.py`), measured right before and after.
"""

_CPU: Final = """\
CPU time of a packet on the machine outside, in this stub's process and in that of Debian's
{gdbserver}, the kernel's part included and the client's not. Targets are at rest: a process for
gdbserver, and for this stub the tests' machine without KVM. The least of five, in turn, with the
greatest, for other load of the machine only adds:
"""

_GROWTH: Final = """\
Both axes are logarithmic, so a slope of 1 is linear growth; the steepest between two neighbours is
named below each table. Each figure is the least of three.
"""


@dataclass(slots=True)
class Results:
    """Figures of a run: one for each pass, by the names of the row and the stub."""

    passes: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    counts: dict[tuple[str, str], float] = field(default_factory=dict)
    calls: dict[str, Calls] = field(default_factory=dict)
    panels: list[Panel] = field(default_factory=list)
    cpu: Figures = field(default_factory=dict)
    #: Milliseconds of a false hit in a bare loop in C, by the way to pass over it.
    false_hits: dict[str, float] = field(default_factory=dict)

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

    def counted(self, row: Row, stub: str) -> str:
        """Format the number of instructions."""
        number = self.counts.get((row.name, stub))
        return count(number) if number else ""


def figure(value: float, unit: str) -> str:
    """Format a figure with its unit."""
    return f"{digits(value)} {unit}".rstrip()


def count(number: float) -> str:
    """Format a number of instructions."""
    return f"{number / 1e6:.1f} M" if number >= 10e6 else f"{number / 1e3:.1f} k"


def table(results: Results, rows: Sequence[Row] = ROWS) -> list[str]:
    """Format the rows as a Markdown table."""
    found = [
        _line(
            *("work", "QEMU", "gdbstub", "ratio", "goal", "met"),
            *("instructions: QEMU", "gdbstub", "C floor", "goal", "met"),
        ),
        "|---|---:|---:|---:|---:|---|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        other = BARE if row.floor else QEMU.name
        name = f"{row.name} (against a bare loop)" if row.floor else row.name
        cells = [results.cell(row, other), results.cell(row, OURS.name)]
        counts = [results.counted(row, stub.name) for stub in (QEMU, OURS, FLOOR)]
        found.append(
            _line(
                name, *cells, *_judged(results, row, other), *counts, *_judged_count(results, row)
            )
        )
    return found


def _judged(results: Results, row: Row, other: str) -> tuple[str, str, str]:
    """Format the ratio, the goal, and the result."""
    goal = f"at most {row.goal:g}" if row.absolute else f"{row.goal:g} ×"
    theirs, ours = results.of(row, other), results.of(row, OURS.name)
    if theirs is None or ours is None:
        return "", goal, "not measured"
    return f"{digits(row.ratio(ours, theirs))} ×", goal, _met(row.met(ours, theirs))


def _judged_count(results: Results, row: Row) -> tuple[str, str]:
    """Format the goal and the result in instructions."""
    if row.instructions is None:
        return "", ""
    most = row.instructions.most
    goal = f"≤ {count(most)}" if most else "≤ QEMU's"
    ours = results.counts.get((row.name, OURS.name))
    theirs = results.counts.get((row.name, QEMU.name))
    if ours is None or theirs is None:
        return goal, "not measured"
    return goal, _met(row.instructions.met(ours, theirs))


def _met(met: bool) -> str:
    return "yes" if met else "**no**"


def cpu_table(figures: Figures) -> list[str]:
    """Format the CPU time of packets on this machine as a Markdown table."""
    found = [
        _line("packet", "gdbserver", "gdbstub", "of gdbserver's", "goal", "met"),
        "|---|---:|---:|---:|---:|---|",
    ]
    for row in cpu_time.ROWS if figures else ():
        cells = [_microseconds(figures[row, name]) for name in (cpu_time.PROGRAM, cpu_time.OURS)]
        times = cpu_time.ratio(figures, row)
        goal = f"{cpu_time.GOAL:g} ×"
        found.append(_line(row, *cells, f"{times:.2f} ×", goal, _met(times <= cpu_time.GOAL)))
    return found


def _microseconds(figures: list[float]) -> str:
    return f"{min(figures):.1f} µs (to {max(figures):.1f})"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def page(results: Results, facts: dict[str, str], notes: Sequence[str]) -> str:
    """Format the page; *notes* are the lines below the figures that were written by hand."""
    parts = [_HEAD.format(**facts) + "\n".join(table(results)), _METHOD]
    if results.false_hits:
        ways = ", ".join(f"{digits(ms)} ms ({way})" for way, ms in results.false_hits.items())
        parts.append(f"A false hit in a bare loop in C (`bench/false_hits.c`): {ways}.\n")
    parts += [_CPU.format(**facts), *cpu_table(results.cpu), ""]
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
