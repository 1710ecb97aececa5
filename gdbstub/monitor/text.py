"""Plain text in columns, for a client's console of 80 characters a line."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Final

from gdbstub.slices import spend

_WIDTH: Final = 79
_GAP: Final = "  "


def table(rows: Iterable[Sequence[str]], head: Sequence[str] = ()) -> str:
    """Format *rows* in columns as wide as they must be. The last column is folded."""
    lines, widths = list[Sequence[str]](), list[int]()
    for line in (*([head] if head else []), *rows):
        spend(0)  # a table of a guest's may be long
        lines.append(line)
        widths = widths or [0] * (len(line) - 1)
        widths = [max(pair) for pair in zip(widths, map(len, line[:-1]), strict=True)]
    indent = sum(widths) + len(_GAP) * len(widths)
    return "".join(_row(line, widths, indent) for line in lines)


def _row(cells: Sequence[str], widths: Sequence[int], indent: int) -> str:
    spend(0)
    front = "".join(f"{cell:<{width}}{_GAP}" for cell, width in zip(cells, widths, strict=False))
    text, width = cells[-1], max(20, _WIDTH - indent)
    if len(text) <= width and text.isprintable():  # most are, and wrap takes much longer
        folded = [text]
    else:
        folded = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return (front + ("\n" + " " * indent).join(folded)).rstrip() + "\n"


def count(number: int, what: str) -> str:
    """Return *number* of *what*, in the plural where it must be."""
    return f"{number} {what}{'' if number == 1 else 's'}"
