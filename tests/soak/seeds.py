"""Seeds that ``make test`` runs: fixed ones, and those that failed once, with what they found.

A seed's program changes with the generator. What a seed found is shown by a test of its own, too.
"""

from collections.abc import Mapping
from typing import Final

FIXED: Final = range(12)
FOUND: Final[Mapping[int, str]] = {}
