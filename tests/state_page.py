"""Writes docs/states.md, each table of transitions as a matrix: ``make docs``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gdbstub.debug.run_state import TRANSITIONS as DEBUGGER
from gdbstub.protocol.states import SESSION
from gdbstub.states import Event, State, Transitions

PAGE: Final = Path(__file__).parents[1] / "docs" / "states.md"

_HEAD: Final = """\
# States

Made by `make docs` from the tables that the code follows. A row has the states that follow a
state, a column those after an event; the first row is the state at the beginning. An event whose
cell is empty does not occur in that state: it would be a bug, and raises `IllegalTransition`. The
files named here say what each state and event means.
"""


def page() -> str:
    """The whole page."""
    return "\n".join((_HEAD, *_chapters()))


def _chapters() -> Iterator[str]:
    """A chapter for each table: one line here adds a table."""
    yield _chapter(SESSION, "gdbstub/protocol/states.py")
    yield _chapter(DEBUGGER, "gdbstub/debug/run_state.py")


def _chapter(table: Transitions[State, Event], file: str) -> str:
    title = table.name.capitalize()
    return f"## {title}\n\n[`{file}`](../{file})\n\n{matrix(table)}\n"


def matrix(table: Transitions[State, Event]) -> str:
    """*table* with a row for each state and a column for each event, in the order of its rows."""
    states = list(dict.fromkeys(state for state, _ in table.rows))
    events = list(dict.fromkeys(event for _, event in table.rows))
    lines = [
        "| | " + " | ".join(event.name for event in events) + " |",
        "|---" * (len(events) + 1) + "|",
    ]
    for state in states:
        after = [table.rows.get((state, event)) for event in events]
        lines.append(
            f"| **{state.name}** | " + " | ".join(s.name if s else "" for s in after) + " |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page())
