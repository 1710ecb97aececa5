"""The sessions of docs/tasks on real KVM."""

import pytest

from tests.doc_sessions import FOLDER, names, run, settled


@pytest.mark.parametrize("name", names())
def test_a_session_shows_what_was_recorded(name: str) -> None:
    assert settled(run(name)) == settled((FOLDER / f"{name}.txt").read_text())
