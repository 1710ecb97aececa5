"""Growth of costs with the number of vCPUs, breakpoints, watchpoints and bytes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import log
from statistics import median
from typing import Final

from bench.build import Programs
from bench.stubs import Place, Serving, Stub

VCPUS: Final = (1, 2, 4, 8)
BREAKPOINTS: Final = (1, 10, 100, 1000)
#: Each takes a comparator, and the lab's CPU has four.
WATCHPOINTS: Final = (1, 2, 3, 4)
BYTES: Final = (4, 64, 512, 2048, 8192, 32768)
#: Each point is the least of several measurements: other load of the machine only adds.
_TIMES: Final = 3
_SECONDS: Final = 0.6
#: Steepest slope between two neighbours that counts as linear; 1 is linear, the rest noise.
LINEAR: Final = 1.1
_STEP: Final = "vCont;s:1"

#: Milliseconds by number.
Series = dict[int, float]


@dataclass(frozen=True, slots=True)
class Panel:
    """One drawing: its title, the unit of its x axis, and a line for each name."""

    title: str
    along: str
    lines: dict[str, Series]

    def verdicts(self) -> list[str]:
        """Describe the growth of each line, as a Markdown list."""
        return [f"- {name}: {_verdict(line)}" for name, line in self.lines.items()]


def _verdict(line: Series) -> str:
    points = sorted(line.items())
    (low, first), (high, last) = points[0], points[-1]
    slopes = [log(b / a) / log(n / m) for (m, a), (n, b) in pairwise(points)]
    words = "no worse than linear" if max(slopes) <= LINEAR else "**worse than linear**"
    times = f"{last / first:.3g} times the cost at {high:,} of that at {low:,}"
    return f"{times}; steepest slope {max(slopes):.2f}, {words}"


def panels(place: Place, stubs: tuple[Stub, ...], programs: Programs) -> Iterator[Panel]:
    """Measure every panel."""
    growth = _Growth(place, programs)
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
    def __init__(self, place: Place, programs: Programs) -> None:
        self._place, self._symbols = place, programs.symbols

    def _rounds(self, *packets: str) -> float:
        """Measure the milliseconds of a round."""
        number, nanoseconds = self._place.measure("rounds", _SECONDS, *packets)
        return nanoseconds / number / 1e6

    def vcpus(self, stub: Stub) -> dict[str, Series]:
        step: Series = {}
        interrupt: Series = {}
        for number in VCPUS:
            with Serving(self._place, stub, number) as serving:
                serving.begin(self._symbols.symbol("place"))
                step[number] = min(self._rounds("--", _STEP, "--") for _ in range(_TIMES))
                medians = (median(self._place.measure("interrupt", 10)) for _ in range(_TIMES))
                interrupt[number] = min(medians) / 1e6
        return {", step": step, ", Ctrl-C": interrupt}

    def _series(
        self, stub: Stub, numbers: tuple[int, ...], packets: Callable[[int], tuple[str, ...]]
    ) -> dict[str, Series]:
        with Serving(self._place, stub) as serving:
            serving.begin(self._symbols.symbol("place"))
            # In turn, so that other load of the machine affects all of them.
            taken: dict[int, list[float]] = {number: [] for number in numbers}
            for _ in range(_TIMES):
                for number, found in taken.items():
                    found.append(self._rounds(*packets(number)))
            return {"": {number: min(found) for number, found in taken.items()}}

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
            watch = [f"2,{at + 8 * n:x},8" for n in range(number)]
            before, after = [f"Z{each}" for each in watch], [f"z{each}" for each in watch]
            return (*before, "--", _STEP, "--", *after)

        return self._series(stub, WATCHPOINTS, packets)

    def bytes(self, stub: Stub) -> dict[str, Series]:
        at = self._symbols.symbol("places")
        # QEMU 7.2 takes no more than its PacketSize holds.
        sizes = tuple(size for size in BYTES if size <= stub.chunk)
        return self._series(stub, sizes, lambda size: ("--", f"m{at:x},{size:x}", "--"))
