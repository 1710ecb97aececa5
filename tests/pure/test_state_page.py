"""docs/states.md shows the tables of transitions as they are."""

import pytest

from gdbstub.protocol.states import SESSION, SessionState
from tests.pure.test_states import TABLE
from tests.state_page import PAGE, matrix, page


def test_the_page_is_as_make_docs_would_write_it() -> None:
    assert PAGE.read_text() == page(), "docs/states.md is old: make docs"


def test_a_row_for_each_state_and_a_column_for_each_event() -> None:
    assert matrix(TABLE).splitlines() == [
        "| | PRESS | BREAK |",
        "|---|---|---|",
        "| **OFF** | ON |  |",
        "| **ON** | OFF | OFF |",
    ]


@pytest.mark.parametrize("state", SessionState)
def test_every_state_of_a_session_is_in_the_table(state: SessionState) -> None:
    assert any(before is state for before, _ in SESSION.rows)
    assert state is SessionState.IDLE or state in SESSION.rows.values()
