"""Random operands, and what a class of instructions makes of them."""

from random import Random
from typing import NamedTuple

from tests.soak.words import Line


class Made(NamedTuple):
    """Lines, which of them an exclusive sequence is, and which one the guest patches."""

    lines: tuple[Line, ...]
    exclusive: range = range(0)
    patched: int | None = None


class Draw:
    """Random operands."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.one_of = random.choice

    def x(self) -> int:
        """A register that holds data."""
        return self.random.randrange(16)

    def small(self) -> int:
        """A 12-bit immediate."""
        return self.random.randrange(4096)

    def size(self) -> int:
        """Draw the size of an access, in bytes."""
        return self.random.choice((1, 2, 4, 8))

    def offset(self, size: int, end: int = 0x80) -> int:
        """Into the data that loads and stores go to."""
        return self.random.randrange(0, end, size)

    def flip(self) -> bool:
        """Draw True or False."""
        return self.random.random() < 0.5


def made(*lines: Line) -> Made:
    return Made(lines)
