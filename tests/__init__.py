"""The rings of tests: pure, fakes, contract, gdb, kvm."""

from pathlib import Path

import pytest

# An assertion that fails in a helper shows its values, as one in a test does.
pytest.register_assert_rewrite(
    *(f"{__name__}.{path.stem}" for path in Path(__file__).parent.iterdir())
)
