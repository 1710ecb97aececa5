"""The table of transitions, for whatever states."""

import pytest

from gdbstub.states import IdentityEnum, IllegalTransition, Transitions


class Lamp(IdentityEnum):
    OFF = "off"
    ON = "on"


class Switch(IdentityEnum):
    PRESS = "press"
    BREAK = "break"


TABLE = Transitions(
    "lamp",
    {
        (Lamp.OFF, Switch.PRESS): Lamp.ON,
        (Lamp.ON, Switch.PRESS): Lamp.OFF,
        (Lamp.ON, Switch.BREAK): Lamp.OFF,
    },
)


def test_the_table_says_which_state_comes_next() -> None:
    assert TABLE.after(Lamp.OFF, Switch.PRESS) is Lamp.ON
    assert TABLE.after(Lamp.ON, Switch.BREAK) is Lamp.OFF


def test_an_event_that_the_table_does_not_have_is_a_bug_of_ours() -> None:
    with pytest.raises(IllegalTransition, match=r"lamp: no transition .* BREAK in the state OFF"):
        TABLE.after(Lamp.OFF, Switch.BREAK)


def test_members_are_distinct_keys() -> None:
    assert len({Lamp.OFF, Lamp.ON, Switch.PRESS, Switch.BREAK}) == 4
    assert Lamp("on") is Lamp.ON
