"""Seeds that ``make test`` runs: fixed ones, and those that failed once, with what they found.

A seed's program changes with the generator. What a seed found is shown by a test of its own, too.
"""

from collections.abc import Mapping
from typing import Final

FIXED: Final = range(20)
#: So many of them run on each kind of KVM.
FEW: Final = 3
FOUND: Final[Mapping[int, str]] = {}
