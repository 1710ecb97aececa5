"""The sessions of docs/tasks whose guests need no more than the fake machine has."""

import pytest

from tests.doc_sessions import FOLDER, arguments, names, run, settled

#: Names of the sessions with a program of our own, not with a Linux kernel.
BARE = [name for name in names() if any(word.endswith(".elf") for word in arguments(name))]


@pytest.mark.parametrize("name", BARE)
def test_a_session_shows_what_was_recorded(name: str) -> None:
    assert settled(run(name, "tests.gdb.stand_in")) == settled((FOLDER / f"{name}.txt").read_text())
