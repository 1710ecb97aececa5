"""Recorded sessions of real clients: what each said is answered as it was."""

from pathlib import Path

import pytest

from tests.pure.sessions import SESSIONS, recorded_target
from tests.pure.transcript import Stage


@pytest.mark.parametrize("session", SESSIONS, ids=lambda path: path.stem)
def test_a_recorded_session(session: Path) -> None:
    stage = Stage(recorded_target(), acks=True)
    stage.play(session.read_text())
    stage.session.close()  # in extended mode the client hangs up
    assert stage.session.over
    assert not stage.session.guest_gone
    # It has left nothing behind.
    assert not stage.target.inserted
    assert stage.target.calls[-1] == "detach"
