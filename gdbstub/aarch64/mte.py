"""Granules and allocation tags of memory (Arm ARM D10 "The Memory Tagging Extension")."""

from typing import Final

#: Bytes that share one tag.
GRANULE: Final = 16
#: The largest value of a tag, which has four bits.
LARGEST_TAG: Final = 0xF
