"""One lab for a whole run of the ring."""

import os
from collections.abc import Iterator

import pytest

from gdbstub.lab.host import VARIABLE, Lab


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A running lab host; what a test starts with GDBSTUB_LAB in its environment joins it."""
    with Lab.open() as host:
        before = os.environ.get(VARIABLE)
        os.environ[VARIABLE] = str(host.directory)
        try:
            yield host
        finally:
            if before is None:
                del os.environ[VARIABLE]
