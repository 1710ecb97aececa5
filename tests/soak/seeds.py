"""Seeds that failed once, with what they found; each is run for ever after.

A seed's program changes with the generator. What a seed found is shown by a test of its own, too.
"""

from collections.abc import Mapping
from typing import Final

FOUND: Final[Mapping[int, str]] = {}
