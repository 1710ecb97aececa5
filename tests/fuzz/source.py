"""Source of choices: the bytes of an input as numbers. Behind the bytes there are zeroes."""

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


class Source:
    """The bytes of one input, taken from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        """Return True while there are bytes."""
        return self._at < len(self._data)

    def take(self, length: int) -> bytes:
        """Take *length* bytes, or as many as are left."""
        self._at += length
        return self._data[self._at - length : self._at]

    def rest(self) -> bytes:
        """Take all that is left."""
        return self.take(max(0, len(self._data) - self._at))

    def number(self, size: int = 1) -> int:
        """Take a number of *size* bytes."""
        return int.from_bytes(self.take(size), "little")

    def below(self, bound: int) -> int:
        """Take a number below *bound*, which is 256 at most."""
        return self.number() % bound

    def choice(self, items: Sequence[Item]) -> Item:
        """Take one of *items*."""
        return items[self.below(len(items))]
