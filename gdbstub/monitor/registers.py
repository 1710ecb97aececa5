"""The command that shows registers with their fields.

It holds no register: rows and fields are those of ``aarch64``.
"""

import difflib
import re
from collections.abc import Sequence
from typing import Final

from gdbstub.aarch64 import sysreg
from gdbstub.aarch64.bits import Bits, Word
from gdbstub.aarch64.registers import SYSTEM
from gdbstub.architecture import Register
from gdbstub.errors import InputError
from gdbstub.monitor.context import CommandContext, command
from gdbstub.monitor.text import table

#: What a row's type says of its fields.
_WORDS: Final[dict[str, type[Word]]] = {
    "SPSR": sysreg.PSTATE,
    "cpsr_flags": sysreg.PSTATE,
    **{
        name: value
        for name, value in vars(sysreg).items()
        if isinstance(value, type) and issubclass(value, Word)
    },
}


@command("regs", "[NAME...]")
def regs(context: CommandContext, patterns: tuple[str, ...]) -> str:
    """Show the current thread's registers with their fields; all system registers unless named.

    A NAME is a whole one, or a regular expression that is looked for in all names; capitals
    do not matter. Single bits that are set are shown by name, wider fields with their value
    unless it is 0.
    """
    rows = context.debugger.registers
    if patterns:
        chosen = [row for pattern in patterns for row in _matching(rows, pattern)]
    else:
        chosen = [row for row in rows if row.feature == SYSTEM]
    values = context.read(chosen)
    return table(
        (row.name, f"{value:#x}", fields(row, value))
        for row, value in zip(chosen, values, strict=True)
    )


def _matching(rows: Sequence[Register], pattern: str) -> list[Register]:
    try:
        form = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise InputError(f"{pattern!r} is no regular expression: {error}") from None
    found = [row for row in rows if form.fullmatch(row.name)]
    found = found or [row for row in rows if form.search(row.name)]
    if not found:
        names = {row.name.lower(): row.name for row in rows}
        near = difflib.get_close_matches(pattern.lower(), names, 1)
        advice = f"; did you mean {names[near[0]]}?" if near else ""
        raise InputError(f"no register's name matches {pattern!r}{advice}")
    return found


def fields(row: Register, value: int) -> str:
    """The fields of *row* in words, from the lowest bit up; empty where it has none."""
    word = _WORDS.get(row.type)
    if word is None:
        return ""
    shown = []
    for name, bits in sorted(_disjoint(word).items(), key=lambda item: item[1].lo):
        if field := value >> bits.lo & bits.mask:
            shown.append(name if bits.mask == 1 else f"{name}={field:#x}")
    return " ".join(shown)


def _disjoint(word: type[Word]) -> dict[str, Bits]:
    """*word*'s fields without overlaps: one that others make up whole gives way to them.

    Otherwise they give way to it: what they mean depends on another field.
    """
    declared = {name: bits for name, bits in vars(word).items() if isinstance(bits, Bits)}
    masks = {name: bits.mask << bits.lo for name, bits in declared.items()}
    dropped: set[str] = set()
    for name, mask in masks.items():
        parts = {n: m for n, m in masks.items() if m & mask == m and m < mask}
        covered = 0
        for part in parts.values():
            covered |= part
        dropped |= {name} if covered == mask else set(parts)
    return {name: bits for name, bits in declared.items() if name not in dropped}
