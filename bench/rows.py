"""The rows of the table: what is measured, how, and what was to be reached.

A row yields one figure per stub and pass; the report takes medians of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench import by_gdb
from bench.build import Programs
from bench.stubs import OURS, QEMU, Place, Serving, Stub


@dataclass(frozen=True, slots=True)
class Run:
    """What a row has to work with: a stub that serves, and how long to take."""

    serving: Serving
    programs: Programs
    seconds: float
    quick: bool

    def per_second(self, *arguments: str | float) -> float:
        """Rounds, or bytes, a second, as the client counts them."""
        number, nanoseconds = self.serving.place.measure(*arguments)
        return number / nanoseconds * 1e9

    def rounds(self, *packets: str) -> float:
        """Rounds a second; *packets* with ``--`` round those of a round."""
        return self.per_second("rounds", self.seconds, *packets)

    @property
    def place(self) -> str:
        """Where the guest comes by in each lap."""
        return f"{self.programs.symbols.symbol('place'):x}"


@dataclass(frozen=True, slots=True)
class Row:
    """One row. *goal*: the ratio to QEMU that was to be reached, in the better direction."""

    name: str
    unit: str
    goal: float
    measure: Callable[[Run], float]
    vcpus: int = 1
    #: Whether less is better: a time.
    less: bool = False
    #: Whether only this project's stub can do it.
    alone: bool = False

    def ratio(self, ours: float, qemu: float) -> float:
        """How many times better *ours* is."""
        return qemu / ours if self.less else ours / qemu


def _step(run: Run) -> float:
    return run.rounds("--", "vCont;s:1", "--")


def _breakpoint(run: Run) -> float:
    insert, remove = f"Z0,{run.place},4", f"z0,{run.place},4"
    lap = (remove, "vCont;s:1", insert, "vCont;c")
    return run.rounds(insert, "vCont;c", "--", *lap, "--", remove)


def _registers(run: Run) -> float:
    return run.rounds("--", "g", "--")


def _register(run: Run) -> float:
    return run.rounds("--", "p20", "--")


def _dump(run: Run) -> float:
    size = 16 << (16 if run.quick else 20)
    return run.per_second("dump", 0x4000_0000, size, run.serving.stub.chunk) / 1e6


def _interrupt(run: Run) -> float:
    return median(run.serving.place.measure("interrupt", 10 if run.quick else 40)) / 1e6


def _range(run: Run) -> float:
    start, end = (run.programs.symbols.symbol(f"range_{name}") for name in ("start", "end"))
    pc = f"P20={start.to_bytes(8, 'little').hex()}"
    return 2001 * run.rounds("--", pc, f"vCont;r{start:x},{end:x}:1", "--")


def _false_hits(run: Run) -> float:
    return by_gdb.false_hits(run.serving.port, run.programs.guest, 100 if run.quick else 1000)


def _next(run: Run) -> float:
    count = 200 if run.quick else 2000
    return by_gdb.next_over_a_loop(run.serving.port, run.programs.guest, count)


ROWS: Final = (
    Row("`vCont;s` round trips", "/s", 10, _step),
    Row("z0, step, Z0, continue to the next hit", "/s", 8, _breakpoint),
    Row("`g` round trips", "/s", 1.2, _registers),
    Row("`p` round trips", "/s", 1.2, _register),
    Row("memory dump of 16 MB", "MB/s", 20, _dump),
    Row("Ctrl-C to stop reply, 1 vCPU", "ms", 1, _interrupt, less=True),
    Row("Ctrl-C to stop reply, 4 vCPUs", "ms", 1, _interrupt, vcpus=4, less=True),
    Row("GDB: conditional breakpoint, 1,000 false hits", "s", 40, _false_hits, less=True),
    Row("GDB: `next` over 2,000 instructions in a loop", "s", 50, _next, less=True),
    # Last: it leaves the guest where it goes nowhere.
    Row("range stepping, instructions", "/s", 0.6, _range, alone=True),
)


def start(place: Place, stub: Stub) -> float:
    """From the process's start to where a client can connect, in ms."""
    (nanoseconds,) = place.measure("start", *stub.argv("/files/guest.elf", 1))
    return nanoseconds / 1e6


def bare_loop(place: Place, seconds: float) -> float:
    """Instructions a second of a loop that does nothing but step and read the PC."""
    done = place.lab.run(["python3", "/files/bare_loop.py", str(seconds)])
    steps, nanoseconds = map(int, done.stdout.split())
    return steps / nanoseconds * 1e9


STUBS: Final = (QEMU, OURS)
