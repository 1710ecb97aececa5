"""The command ``regs``, which shows registers with their fields.

It has no register of its own: rows and fields are those of ``aarch64``.
"""

import difflib
import re
import warnings
from collections.abc import Sequence
from typing import Final

from gdbstub.aarch64.registers import QEMU_NAMES, SYSTEM
from gdbstub.aarch64.sysreg import FIELDS
from gdbstub.architecture import Register
from gdbstub.errors import InputError
from gdbstub.monitor.context import CommandContext, command
from gdbstub.monitor.text import table

#: Number of names that are taken at once.
_MOST: Final = 16
#: Number of repeats in a regular expression; a search tries the places of all in every way.
_REPEATS: Final = 2
#: Number of repeats and ``|`` in one: a ``|`` at most doubles the ways, wherever it is.
_CHOICES: Final = 4
#: Number of ``|`` in one without repeats and groups, which are tried one after the other.
_NAMES: Final = 64
#: Constructs that may make a search long whatever is counted: a repeat of a group, a
#: back-reference, and all that begins with ``(?``. One of that makes blanks after a group mean
#: nothing, another is a back-reference, too.
_REFUSED: Final = r"\)[*+?{]|\\\d|\(\?"


@command("regs", "[NAME...]")
def regs(context: CommandContext, patterns: tuple[str, ...]) -> str:
    """Show the current thread's registers with their fields; all system registers unless named.

    NAME is a register's name, or a regular expression that is searched in all names. Case does
    not matter. Single bits that are set are shown by name, wider fields with their value unless
    it is 0.
    """
    rows = [row for row in context.debugger.registers if row not in QEMU_NAMES]
    if patterns:
        if len(patterns) > _MOST:
            raise InputError(f"{len(patterns)} names, where at most {_MOST} are taken")
        matching = [row for pattern in patterns for row in _matching(rows, pattern)]
        chosen = list({row.number: row for row in matching}.values())
    else:
        chosen = [row for row in rows if row.feature == SYSTEM]
    values = context.read(chosen)
    return table(
        (row.name, f"{value:#x}", fields(row, value))
        for row, value in zip(chosen, values, strict=True)
    )


def _matching(rows: Sequence[Register], pattern: str) -> list[Register]:
    repeats = len(re.findall(r"[*+?{]", pattern))
    choices = repeats + pattern.count("|")
    most = _CHOICES if repeats or "(" in pattern else _NAMES
    if repeats > _REPEATS or choices > most or re.search(_REFUSED, pattern):
        raise InputError(
            f"{pattern!r} may take long to search: give at most {_REPEATS} repeats, none of a "
            f"group, at most {most} of repeats and |, no back-reference and no (?"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # one line for the client, none in the log
            form = re.compile(pattern, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError, FutureWarning) as error:
        raise InputError(f"{pattern!r} is no regular expression: {error}") from None
    found = [row for row in rows if form.fullmatch(row.name)]
    # QEMU leaves the level off its registers of EL1: VBAR.
    found = found or [row for row in rows if form.fullmatch(row.name.removesuffix("_EL1"))]
    found = found or [row for row in rows if form.search(row.name)]
    if not found:
        names = {row.name.lower(): row.name for row in rows}
        near = difflib.get_close_matches(pattern.lower(), names, 1)
        advice = f"; did you mean {names[near[0]]}?" if near else ""
        raise InputError(f"no register's name matches {pattern!r}{advice}")
    return found


def fields(row: Register, value: int) -> str:
    """Return the fields of *row* that are not 0 as text, from the lowest bit up."""
    word = FIELDS.get(row.type)
    if word is None:
        return ""
    shown = []
    for name, bits in word.disjoint().items():
        if field := value >> bits.lo & bits.mask:
            shown.append(name if bits.width == 1 else f"{name}={field:#x}")
    return " ".join(shown)
