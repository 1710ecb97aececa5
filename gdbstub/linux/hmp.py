"""Output of QEMU's human monitor that tools parse: memory by physical address, and places of RAM.

Source: qemu/monitor/hmp-cmds.c (memory_dump), system/memory.c (mtree_print_flatview).
"""

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from gdbstub.errors import InputError

#: Most bytes that are shown at once.
MOST: Final = 64 << 10

_FORMAT: Final = re.compile(r"/([0-9]{0,9})([xduocbhwg]*)")
_SIZES: Final = {"b": 1, "h": 2, "w": 4, "g": 8}
_LINE: Final = 16


def _octal(value: int, size: int) -> str:
    return f"0{value:0{-(-8 * size // 3)}o}"


def _signed(value: int, size: int) -> str:
    return str(value - (1 << 8 * size) if value >> 8 * size - 1 else value)


def _character(value: int, size: int) -> str:
    return repr(chr(value & 0xFF))


_SHOWN: Final[dict[str, Callable[[int, int], str]]] = {
    "x": lambda value, size: f"0x{value:0{2 * size}x}",
    "u": lambda value, size: str(value),
    "d": _signed,
    "o": _octal,
    "c": _character,
}


class MemoryFormat(NamedTuple):
    """The argument /FMT of ``xp``: a number of values, their size in bytes, and how they look."""

    number: int
    size: int
    letter: str

    @property
    def length(self) -> int:
        """Number of bytes of all values."""
        return self.number * self.size


def parse_format(text: str | None) -> MemoryFormat:
    """Parse the argument /FMT of ``xp``.

    Raises:
        InputError: it is no format, or asks for too much at once.
    """
    if not (match := _FORMAT.fullmatch(text or "/")):
        raise InputError(f"{text!r} is no format: expected a count, x u d o c, and b h w g: /8xg")
    letters = match[2]
    size = next((_SIZES[each] for each in letters if each in _SIZES), 4)
    letter = next((each for each in letters if each in _SHOWN), "x")
    wanted = MemoryFormat(int(match[1] or 1), size, letter)
    if wanted.length > MOST:
        raise InputError(f"{wanted.length} bytes are too many at once: at most {MOST}")
    return wanted


def show_memory(ipa: int, data: bytes, wanted: MemoryFormat) -> str:
    """Return the values in *data*, which is at *ipa*, as lines of 16 bytes."""
    size, shown = wanted.size, _SHOWN[wanted.letter]
    lines = []
    for at in range(0, len(data), _LINE):
        line = data[at : at + _LINE]
        values = (int.from_bytes(line[n : n + size], "little") for n in range(0, len(line), size))
        lines.append(f"{ipa + at:016x}: " + " ".join(shown(value, size) for value in values))
    return "".join(f"{line}\n" for line in lines)


def show_ram(ranges: Sequence[range]) -> str:
    """Return the lines of ``info mtree -f`` for RAM at the physical addresses *ranges*."""
    lines = [f"  {ram.start:016x}-{ram.stop - 1:016x} (prio 0, ram): ram\n" for ram in ranges]
    return "".join(
        ("FlatView #0\n", ' AS "memory", root: system\n', " Root memory region: system\n", *lines)
    )
