"""A place where the program can do nothing but read: no tools, an empty cache, no lab."""

from pathlib import Path

import pytest

from tests.cli.program import Place
from tests.pure.elves import Elf


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    (made.files / "guest.elf").write_bytes(Elf().build())
    return made
