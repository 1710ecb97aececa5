"""What things cost as there are more of them: vCPUs, breakpoints, watchpoints, bytes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import log
from statistics import median
from typing import Final

from bench.build import Programs
from bench.stubs import QEMU, Place, Serving, Stub

VCPUS: Final = (1, 2, 4, 8)
BREAKPOINTS: Final = (1, 10, 100, 1000)
#: Four of them are in comparators of their own; from then on they share one with others.
WATCHPOINTS: Final = (1, 2, 4, 8, 16, 32)
COMPARATORS: Final = 4
BYTES: Final = (4, 64, 512, 2048, 8192, 32768)
#: What neighbours on the drawing may have between them, 1 being linear; the rest is noise.
LINEAR: Final = 1.1
_STEP: Final = "vCont;s:1"

#: Milliseconds by how many there are.
Series = dict[int, float]


@dataclass(frozen=True, slots=True)
class Panel:
    """One drawing: its title, what is counted along it, and a line for each name."""

    title: str
    along: str
    lines: dict[str, Series]

    def verdicts(self) -> list[str]:
        """A sentence for each line on how it grows, as a Markdown list."""
        return [f"- {name}: {_verdict(line)}" for name, line in self.lines.items()]


def _verdict(line: Series) -> str:
    points = sorted(line.items())
    (low, first), (high, last) = points[0], points[-1]
    slopes = [log(b / a) / log(n / m) for (m, a), (n, b) in pairwise(points)]
    words = "no worse than linear" if max(slopes) <= LINEAR else "**worse than linear**"
    times = f"{last / first:.3g} times the cost at {high:,} of that at {low:,}"
    return f"{times}; steepest slope {max(slopes):.2f}, {words}"


def panels(
    place: Place, stubs: tuple[Stub, ...], programs: Programs, seconds: float
) -> Iterator[Panel]:
    """Measure all."""
    growth = _Growth(place, programs, seconds)
    for title, along, measure in (
        ("a step, and Ctrl-C", "vCPUs", growth.vcpus),
        ("a step while breakpoints are inserted", "breakpoints", growth.breakpoints),
        ("removing and inserting all, and a step", "breakpoints", growth.reinserted),
        ("a step while watchpoints are inserted", "watchpoints", growth.watchpoints),
        ("reading memory by m", "bytes", growth.bytes),
    ):
        lines: dict[str, Series] = {}
        for stub in stubs:
            lines |= {f"{stub.name}{what}": line for what, line in measure(stub).items()}
        yield Panel(title, along, lines)


class _Growth:
    def __init__(self, place: Place, programs: Programs, seconds: float) -> None:
        self._place, self._symbols, self._seconds = place, programs.symbols, seconds

    def _rounds(self, *packets: str) -> float:
        """Milliseconds of a round."""
        number, nanoseconds = self._place.measure("rounds", self._seconds, *packets)
        return nanoseconds / number / 1e6

    def vcpus(self, stub: Stub) -> dict[str, Series]:
        step: Series = {}
        interrupt: Series = {}
        for number in VCPUS:
            with Serving(self._place, stub, number) as serving:
                serving.begin(self._symbols.symbol("place"))
                step[number] = self._rounds("--", _STEP, "--")
                interrupt[number] = median(self._place.measure("interrupt", 10)) / 1e6
        return {", step": step, ", Ctrl-C": interrupt}

    def _series(
        self, stub: Stub, numbers: tuple[int, ...], packets: Callable[[int], tuple[str, ...]]
    ) -> dict[str, Series]:
        with Serving(self._place, stub) as serving:
            serving.begin(self._symbols.symbol("place"))
            return {"": {number: self._rounds(*packets(number)) for number in numbers}}

    def _all(self, number: int, z: str) -> str:
        return f"*{number}@{self._symbols.symbol('places'):x} {z}0,%lx,4"

    def breakpoints(self, stub: Stub) -> dict[str, Series]:
        def packets(number: int) -> tuple[str, ...]:
            return self._all(number, "Z"), "--", _STEP, "--", self._all(number, "z")

        return self._series(stub, BREAKPOINTS, packets)

    def reinserted(self, stub: Stub) -> dict[str, Series]:
        def packets(number: int) -> tuple[str, ...]:
            insert, remove = self._all(number, "Z"), self._all(number, "z")
            return insert, "--", remove, insert, _STEP, "--", remove

        return self._series(stub, BREAKPOINTS, packets)

    def watchpoints(self, stub: Stub) -> dict[str, Series]:
        at = self._symbols.symbol("watched")

        def packets(number: int) -> tuple[str, ...]:
            places = (divmod(n, COMPARATORS) for n in range(number))
            watch = [f"2,{at + 8 * word + byte:x},1" for byte, word in places]
            before, after = [f"Z{each}" for each in watch], [f"z{each}" for each in watch]
            return (*before, "--", _STEP, "--", *after)

        # QEMU has one comparator for each.
        numbers = tuple(n for n in WATCHPOINTS if n <= COMPARATORS or stub is not QEMU)
        return self._series(stub, numbers, packets)

    def bytes(self, stub: Stub) -> dict[str, Series]:
        at = self._symbols.symbol("places")
        # QEMU 7.2 takes no more than its PacketSize holds.
        sizes = tuple(size for size in BYTES if size <= stub.chunk)
        return self._series(stub, sizes, lambda size: ("--", f"m{at:x},{size:x}", "--"))
