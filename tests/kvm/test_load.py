"""A short form of the Linux run of ``make load``."""

from pathlib import Path

import pytest

from tests.kvm.conftest import Built
from tests.load import linux


@pytest.mark.timeout(600)
def test_a_guest_that_computes_under_random_debugging(
    initrd: Path, kernel: Built, figure: list[str]
) -> None:
    result = linux.debug(initrd, kernel, seed=12, turns=30, count=3)
    figure.append(f"{dict(result.done)}")
