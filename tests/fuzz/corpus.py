"""The corpus: inputs of each target, a literal of Python on each line of ``corpus/TARGET.txt``."""

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import Final

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
    lines = [f"{each!r}\n" for each in sorted(set(data), key=lambda each: (len(each), each))]
    (PLACE / f"{target}.txt").write_text("".join(lines))
