"""The rings of tests: pure, fakes, contract, gdb, kvm."""

import sys
from pathlib import Path

# An assertion that fails in a helper shows its values, as one in a test does. A module that GDB
# imports does without: its Python may have no pytest.
if pytest := sys.modules.get("pytest"):
    pytest.register_assert_rewrite(
        *(f"{__name__}.{path.stem}" for path in Path(__file__).parent.iterdir())
    )
