"""Comparison of words in RAM with what they were, for caches that are checked at each look-up."""

from collections.abc import Callable, Sequence

from gdbstub.errors import MemoryFault
from gdbstub.machine import Machine


def unchanged(machine: Machine, words: Sequence[tuple[int, bytes]]) -> Callable[[], bool]:
    """Return a function that is True while RAM holds all *words*: an ``ipa`` and 8 bytes each.

    It uses the machine's own comparison, or else reads each word.

    Raises:
        MemoryFault: no RAM at one of them.
    """
    if (comparison := machine.capabilities.comparison) is not None:
        return comparison.unchanged(words)

    read = machine.read_memory
    for ipa, data in words:
        read(ipa, len(data))  # raises where there is no RAM

    def compare() -> bool:
        try:
            return all(read(ipa, len(data)) == data for ipa, data in words)
        except MemoryFault:  # a memory error of the host
            return False

    return compare
