"""Writes docs/states.md, a picture of each table of transitions: ``make docs``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gdbstub.debug.run_state import TRANSITIONS as DEBUGGER
from gdbstub.protocol.states import SESSION
from gdbstub.states import Event, State, Transitions

PAGE: Final = Path(__file__).parents[1] / "docs" / "states.md"

_HEAD: Final = """\
# States

Made by `make docs` from the tables that the code follows. The files named here say what each state
and event means. An event for which a state has no arrow does not occur in it: it would be a bug,
and raises `IllegalTransition`.
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
    return f"## {title}\n\n[`{file}`](../{file})\n\n```mermaid\n{picture(table)}\n```\n"


def picture(table: Transitions[State, Event]) -> str:
    """*table* as a Mermaid diagram: one arrow for all events from one state to another.

    The first state is the one that its enum names first.
    """
    arrows: dict[tuple[State, State], list[str]] = {}
    for (state, event), after in table.rows.items():
        arrows.setdefault((state, after), []).append(event.name)
    first = next(iter(type(next(iter(table.rows))[0])))
    lines = ["stateDiagram-v2", f"  [*] --> {first.name}"]
    lines += [
        f"  {state.name} --> {after.name}: {', '.join(events)}"
        for (state, after), events in arrows.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page())
