"""Allocation tags as the Arm ARM has them (D10 "The Memory Tagging Extension").

It reads and writes none.
"""

from typing import Final

#: Bytes that have one tag.
GRANULE: Final = 16
#: A tag has four bits.
LARGEST_TAG: Final = 0xF


def granules(address: int, length: int) -> range:
    """The addresses of the granules that a range touches."""
    return range(address & -GRANULE, address + length, GRANULE) if length else range(0)
