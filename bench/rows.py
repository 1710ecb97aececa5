"""The rows of the table: measurements and their goals.

A row gives one figure per stub and pass; the report takes medians. In a lab whose clock counts
instructions the same measurement gives instructions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench import by_gdb, ioctls
from bench.build import Programs
from bench.stubs import OURS, Serving
from gdbstub.lab import prepared

#: Address of the memory to dump, which the guest has filled (``guest.c``).
_FILLED: Final = 0x4200_0000
_STEP: Final = "vCont;s:1"


@dataclass(frozen=True, slots=True)
class Measurement:
    """Arguments of a measurement: the stub, the programs, and the time or the rounds to take."""

    serving: Serving
    programs: Programs
    #: Seconds, or rounds with an x after them, as ``client.c`` takes either.
    limit: str
    quick: bool
    #: Ioctls of a step by the name of the stub; filled by the row that counts them.
    calls: dict[str, ioctls.Calls]

    def per_second(self, *arguments: str | float) -> float:
        """Measure rounds or bytes a second, as the client counts them."""
        number, nanoseconds = self.serving.place.measure(*arguments)
        return number / nanoseconds * 1e9

    def rounds(self, *packets: str) -> float:
        """Measure rounds a second; the packets of a round stand between two ``--`` in *packets*."""
        return self.per_second("rounds", self.limit, *packets)

    @property
    def place(self) -> str:
        """Address that the guest executes once in each lap, in hexadecimal."""
        return f"{self.programs.symbols.symbol('place'):x}"


@dataclass(frozen=True, slots=True)
class Instructions:
    """Goal in instructions of a round trip: *most*, or QEMU's own number where that is 0."""

    most: float = 0

    def met(self, ours: float, qemu: float) -> bool:
        """Return True if the goal is met."""
        return ours <= (self.most or qemu)


@dataclass(frozen=True, slots=True)
class Row:
    """One row; *goal* is a ratio to QEMU by wall time, above 1 if this stub is to be better."""

    name: str
    unit: str
    goal: float
    measure: Callable[[Measurement], float]
    vcpus: int = 1
    #: The goal in instructions; None: they are not counted.
    instructions: Instructions | None = None
    #: True if less is better, as of a time.
    less: bool = False
    #: True if the stub is started before the measurement.
    serves: bool = True
    #: True if *goal* is an absolute figure instead of a ratio.
    absolute: bool = False
    #: Measurement in QEMU's place for what QEMU cannot do, taken before and after.
    floor: Callable[[Measurement], float] | None = None

    def ratio(self, ours: float, other: float) -> float:
        """Return how many times better *ours* is."""
        return other / ours if self.less else ours / other

    def met(self, ours: float, other: float) -> bool:
        """Return True if the goal is met."""
        return ours <= self.goal if self.absolute else self.ratio(ours, other) >= self.goal

    def instructions_of(self, figure: float) -> float:
        """Convert a *figure* by a clock that counts instructions as nanoseconds."""
        return figure * 1e6 if self.unit == "ms" else 1e9 / figure


def _step(run: Measurement) -> float:
    return run.rounds("--", _STEP, "--")


def _breakpoint(run: Measurement) -> float:
    insert, remove = f"Z0,{run.place},4", f"z0,{run.place},4"
    lap = (remove, _STEP, insert, "vCont;c")
    return run.rounds(insert, "vCont;c", "--", *lap, "--", remove)


def _registers(run: Measurement) -> float:
    return run.rounds("--", "g", "--")


def _register(run: Measurement) -> float:
    return run.rounds("--", "p20", "--")


def _dump(run: Measurement) -> float:
    size = 1 << (20 if run.quick else 24)
    return run.per_second("dump", _FILLED, size, run.serving.stub.chunk) / 1e6


def _interrupt(run: Measurement) -> float:
    return median(run.serving.place.measure("interrupt", 5 if run.quick else 30)) / 1e6


def _range(run: Measurement) -> float:
    start, end = (run.programs.symbols.symbol(f"range_{name}") for name in ("start", "end"))
    pc = f"P20={start.to_bytes(8, 'little').hex()}"
    return 2001 * run.rounds("--", pc, f"vCont;r{start:x},{end:x}:1", "--")


def _bare_loop(run: Measurement) -> float:
    argv = ["python3", "/files/bare_loop.py", run.limit]
    steps, nanoseconds = map(int, run.serving.place.lab.run(argv).stdout.split())
    return steps / nanoseconds * 1e9


def _false_hit(run: Measurement) -> float:
    """Measure a hit by two runs of GDB, the difference of which is hits alone."""
    port, guest = run.serving.port, run.programs.guest
    few, many = (10, 60) if run.quick else (100, 1000)
    taken = [by_gdb.false_hits(port, guest, number) for number in (few, many)]
    return (taken[1] - taken[0]) / (many - few) * 1e3


def _next(run: Measurement) -> float:
    count = 200 if run.quick else 2000
    return by_gdb.next_over_a_loop(run.serving.port, run.programs.guest, count)


def _ioctls(run: Measurement) -> float:
    run.calls[run.serving.stub.name] = calls = ioctls.for_a_step(run.serving)
    return sum(calls.values())


def _start(run: Measurement) -> float:
    serving = run.serving
    argv = serving.stub.argv("/files/guest.elf", serving.vcpus)
    return serving.place.measure("start", *argv)[0] / 1e6


def prepared_start(run: Measurement) -> float:
    """Measure a start in a lab that has a prepared process, as `gdbstub run` has one outside."""
    if run.serving.stub is not OURS:
        return _start(run)
    lab = run.serving.place.lab
    lab.run([prepared.START])
    try:
        return _start(run)
    finally:
        files = f"{prepared.READY} {prepared.REQUESTS}"
        lab.run(["sh", "-c", f"kill $(cat {prepared.READY}); rm {files}"])


ROWS: Final = (
    Row("`vCont;s` round trips", "/s", 3, _step, instructions=Instructions(220e3)),
    Row(
        "`z0`, step, `Z0`, continue to the next hit", "/s", 1, _breakpoint,
        instructions=Instructions(800e3),
    ),
    Row("`g` round trips", "/s", 1.2, _registers, instructions=Instructions(70e3)),
    Row("`p` round trips", "/s", 1.2, _register, instructions=Instructions(70e3)),
    Row("memory dump of 16 MB", "MB/s", 25, _dump),
    Row(
        "Ctrl-C to stop reply, 1 vCPU", "ms", 1, _interrupt, less=True,
        instructions=Instructions(),
    ),
    Row(
        "Ctrl-C to stop reply, 4 vCPUs", "ms", 1, _interrupt, vcpus=4, less=True,
        instructions=Instructions(),
    ),
    Row("KVM ioctls for one `vCont;s`", "", 8, _ioctls, less=True, absolute=True),
    Row("GDB: a false hit of a conditional breakpoint", "ms", 100, _false_hit, less=True),
    Row("GDB: `next` over 2,000 instructions in a loop", "s", 50, _next, less=True),
    Row(
        "process start to listening", "ms", 1, _start, less=True, serves=False,
        instructions=Instructions(300e6),
    ),
    Row(
        "process start to listening, by the prepared process", "ms", 1, prepared_start, less=True,
        serves=False, instructions=Instructions(),
    ),
    # Last: the guest is left in an endless loop.
    Row("range stepping, instructions", "/s", 0.6, _range, floor=_bare_loop),
)  # fmt: skip
