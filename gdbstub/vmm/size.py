"""Memory sizes as people write them: ``512M``, ``1GiB``, plain bytes.

It knows nothing of the contents of that memory.
"""

import re
from typing import Final

from gdbstub.errors import InputError
from gdbstub.vmm.layout import RAM_BASE, RAM_LIMIT

_UNITS: Final = "KMGT"
_FORM: Final = re.compile(r"([0-9]{1,15})(?:([KMGT])(?:I?B)?|B?)", re.IGNORECASE | re.ASCII)

MIB: Final = 1 << 20
#: The largest page an arm64 host has, so that any host can map what is asked for.
ALIGNMENT: Final = 64 << 10
MINIMUM: Final = 2 * MIB
MAXIMUM: Final = RAM_LIMIT - RAM_BASE


def parse_memory(text: str) -> int:
    """Parse the argument of ``--memory`` into bytes of guest RAM; units are powers of 1024.

    Raises:
        InputError: not a size, too small, too large or not a multiple of 64K.
    """
    text = text.strip()
    match = _FORM.fullmatch(text)
    if match is None:
        raise InputError(f"--memory {text!r}: expected a size such as 512M or 1G")
    digits, unit = match.groups()
    size = int(digits) << 10 * (_UNITS.index(unit.upper()) + 1 if unit else 0)
    if size < MINIMUM:
        # Other tools read a plain number as mebibytes, so that is what was meant.
        hint = f"; for mebibytes write {digits}M" if not unit and size else ""
        raise InputError(f"--memory {text}: the least is {format_size(MINIMUM)}{hint}")
    if size > MAXIMUM:
        raise InputError(f"--memory {text}: the most is {format_size(MAXIMUM)}")
    if size % ALIGNMENT:
        raise InputError(f"--memory {text}: expected a multiple of {format_size(ALIGNMENT)}")
    return size


def format_size(size: int) -> str:
    """Format *size* bytes in the largest unit that is exact, as ``--memory`` takes it."""
    for shift, unit in ((40, "T"), (30, "G"), (20, "M"), (10, "K")):
        if size and size % (1 << shift) == 0:
            return f"{size >> shift}{unit}"
    return f"{size}"


def format_figure(size: int) -> str:
    """Format *size* bytes for a person, rounded up to a tenth of a mebibyte."""
    tenths = -(-size * 10 // MIB)
    return f"{tenths // 10}.{tenths % 10} MiB"


def suggest(needed: int) -> int | None:
    """Return a round ``--memory`` that holds *needed* bytes; None if none does."""
    size = max(64 * MIB, 1 << (needed - 1).bit_length())
    if size > 1 << 30:
        size = -(-needed // (1 << 30)) << 30
    return size if size <= MAXIMUM else None
