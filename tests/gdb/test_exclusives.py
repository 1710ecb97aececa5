"""A word that a load-exclusive and its store change is watched, and the guest gets on."""

import re
from pathlib import Path

import pytest

from tests.fakes.machine import fake_machine
from tests.gdb.build import build
from tests.gdb.conftest import Client
from tests.gdb.stub import Stub

SOURCE = Path(__file__).parent / "lock.c"


@pytest.mark.parametrize("command", ["watch", "awatch"])
def test_each_change_is_shown(tmp_path: Path, command: str) -> None:
    """The exit at the store clears the monitor, so that a mere step of it would always fail."""
    guest = build(tmp_path, SOURCE)
    with Stub(fake_machine(guest.image)) as stub:
        said = Client(stub, guest)(f"{command} lock", *["continue"] * 3, "print lock")
    changes = [(str(n), str(n + 1)) for n in range(3)]
    assert re.findall(r"Old value = (\d+)\s+New value = (\d+)", said) == changes
    assert "$1 = 3" in said
