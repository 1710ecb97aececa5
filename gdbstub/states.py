"""State machines as tables: transitions from a state and an event to the next state.

It knows no state and no event; each table stands beside the states that it is about.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final, Generic, TypeVar


class IdentityEnum(Enum):
    """An enum whose members are hashed by identity, in C, as tables of transitions look them up.

    ``Enum`` computes a hash from a member's name, in Python, at each packet.
    """

    __hash__ = object.__hash__


State = TypeVar("State", bound=Enum)
Event = TypeVar("Event", bound=Enum)


class IllegalTransition(AssertionError):
    """An event in a state for which a table has no transition: a bug in the stub."""


class Transitions(Generic[State, Event]):
    """Table of transitions: the next state for each state and each event that may occur in it."""

    def __init__(self, name: str, rows: Mapping[tuple[State, Event], State]) -> None:
        """Keep *rows*; *name* says whose states they are."""
        self.name: Final = name
        self.rows: Final = rows

    def after(self, state: State, event: Event) -> State:
        """Return the state after *event* in *state*.

        Raises:
            IllegalTransition: the table has no such transition.
        """
        try:
            return self.rows[state, event]
        except KeyError:
            raise IllegalTransition(
                f"{self.name}: no transition for the event {event.name} in the state {state.name}"
            ) from None
