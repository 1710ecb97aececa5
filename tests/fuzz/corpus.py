"""The corpus: inputs of each target, a literal of Python on each line of ``corpus/TARGET.txt``."""

import ast
import contextlib
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Final

#: A file, and two of its lines that were executed one after the other; 0 is the function's start.
_Jump = tuple[str, int, int]
_Trace = Callable[[FrameType, str, object], "_Trace | None"]  # as ``sys.settrace`` takes it

#: Parts of the paths of code under test.
_UNDER_TEST: Final = ("/gdbstub/", "/qemu/qmp/")

PLACE: Final = Path(__file__).parent / "corpus"


def inputs(target: str) -> list[bytes]:
    """Return the inputs of *target*, none if there is no file."""
    file = PLACE / f"{target}.txt"
    return [parse(line) for line in file.read_text().splitlines()] if file.exists() else []


def parse(line: str) -> bytes:
    """Read one line."""
    data = ast.literal_eval(line)
    assert isinstance(data, bytes), line
    return data


def write(target: str, data: Iterable[bytes]) -> None:
    """Replace the inputs of *target*, the shortest first."""
    lines = [f"{each!r}\n" for each in _shortest_first(data)]
    (PLACE / f"{target}.txt").write_text("".join(lines))


def _shortest_first(data: Iterable[bytes]) -> list[bytes]:
    return sorted(set(data), key=lambda each: (len(each), each))


def fewest(function: Callable[[bytes], None], data: Iterable[bytes]) -> list[bytes]:
    """Return the fewest of *data*, by and large, with which *function* executes the same jumps."""
    reached = {each: _jumps(function, each) for each in _shortest_first(data)}
    left, chosen = set[_Jump]().union(*reached.values()), list[bytes]()
    while left:
        best = max(reached, key=lambda each: len(reached[each] & left))
        left -= reached[best]
        chosen.append(best)
    return chosen


def _jumps(function: Callable[[bytes], None], data: bytes) -> frozenset[_Jump]:
    """Run *function*; return the pairs of lines of the code under test that it went between."""
    jumps: set[_Jump] = set()

    def trace(frame: FrameType, event: str, _: object) -> _Trace | None:
        code, last = frame.f_code, 0
        if not any(package in code.co_filename for package in _UNDER_TEST):
            return None

        def each_line(frame: FrameType, event: str, _: object) -> _Trace | None:
            nonlocal last
            if event == "line":
                jumps.add((code.co_filename, last, frame.f_lineno))
                last = frame.f_lineno
            return each_line

        return each_line

    threading.settrace(trace)  # of work in slices
    sys.settrace(trace)
    try:
        with contextlib.suppress(Exception):  # an input of a finding, perhaps
            function(data)
    finally:
        sys.settrace(None)
        threading.settrace(None)
    return frozenset(jumps)
