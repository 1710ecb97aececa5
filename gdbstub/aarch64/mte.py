"""Allocation tags as the Arm ARM has them (D10 "The Memory Tagging Extension").

It reads and writes none.
"""

from typing import Final

#: Bytes that have one tag.
GRANULE: Final = 16
#: A tag has four bits.
LARGEST_TAG: Final = 0xF
