"""docs/states.md shows the tables of transitions as they are."""

import pytest

from gdbstub.protocol.states import SESSION, SessionState
from tests.pure.test_states import TABLE
from tests.state_page import PAGE, page, picture


def test_the_page_is_as_make_docs_would_write_it() -> None:
    assert PAGE.read_text() == page(), "docs/states.md is old: make docs"


def test_one_arrow_for_all_events_between_two_states() -> None:
    assert picture(TABLE).splitlines() == [
        "stateDiagram-v2",
        "  [*] --> OFF",
        "  OFF --> ON: PRESS",
        "  ON --> OFF: PRESS, BREAK",
    ]


@pytest.mark.parametrize("state", SessionState)
def test_every_state_of_a_session_is_in_the_table(state: SessionState) -> None:
    assert any(before is state for before, _ in SESSION.rows)
    assert state is SessionState.IDLE or state in SESSION.rows.values()
