"""The table of monitor commands: how a line finds its command and its arguments."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub.errors import InputError
from gdbstub.monitor.table import Table


class Place:
    """One register, and what was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def register(self, name: str) -> int:
        if name != "pc":
            raise InputError(f"there is no register ${name}")
        return 0xFFFF_8000_0801_0000


TABLE = Table[Place]()


@TABLE.command("walk", "ADDR [LENGTH]")
def walk(place: Place, gva: int, length: int | None) -> str:
    """Walk there.

    As far as it goes.
    """
    place.calls.append(("walk", gva, length))
    return "walked\n"


@TABLE.command("reset")
def reset(place: Place) -> str:
    """Start over."""
    place.calls.append(("reset",))
    return ""


@TABLE.command("regs", "[NAME...]")
def regs(place: Place, names: tuple[str, ...]) -> str:
    """Registers."""
    place.calls.append(("regs", *names))
    return ""


@TABLE.command("time", "[free|still]")
def time(place: Place, wanted: str | None) -> str:
    """Time."""
    place.calls.append(("time", wanted))
    return ""


@TABLE.command("break list")
def break_list(place: Place) -> str:
    """List the armed breakpoints."""
    place.calls.append(("break list",))
    return ""


@TABLE.command("break")
def break_(place: Place) -> str:
    """Break."""
    place.calls.append(("break",))
    return ""


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("walk 0x40000000", ("walk", 0x4000_0000, None)),
        ("walk 1073741824 16", ("walk", 0x4000_0000, 16)),
        ("w $pc 0x10", ("walk", 0xFFFF_8000_0801_0000, 16)),
        ("  wa \t 0  ", ("walk", 0, None)),
        ("res", ("reset",)),
        ("regs", ("regs",)),
        ("reg A B.* c", ("regs", "A", "B.*", "c")),
        ("time", ("time", None)),
        ("t free", ("time", "free")),
        ("t s", ("time", "still")),
        ("break", ("break",)),
        ("break list", ("break list",)),
        ("b l", ("break list",)),
        ("br li", ("break list",)),
    ],
)
def test_a_line_and_what_it_calls(line: str, call: tuple[object, ...]) -> None:
    place = Place()
    TABLE.execute(place, line)
    assert place.calls == [call]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("wlak 0", "there is no monitor command 'wlak'; did you mean 'walk'?"),
        ("walks 0", "there is no monitor command 'walks'; did you mean 'walk'?"),
        ("brake list", "there is no monitor command 'brake'; did you mean 'break list'?"),
        ("help tmie", "there is no monitor command 'tmie'; did you mean 'time'?"),
        ("xyzzy", "there is no monitor command 'xyzzy'; monitor help lists all commands"),
        ("re", "'re' may be reset or regs: type more of it"),
        ("walk", "ADDR is missing: monitor walk ADDR [LENGTH]"),
        ("walk 1 2 3", "'3' is one word too many: monitor walk ADDR [LENGTH]"),
        ("reset now", "'now' is one word too many: monitor reset"),
        ("time flies", "'flies' is not free or still"),
        ("time ''", "\"''\" is not free or still"),
        ("walk $npc", "there is no register $npc"),
        *(
            (
                f"walk {bad}",
                f"'{bad}' is no address: expected 0x and hex digits, decimal digits, "
                "or a register such as $pc",
            )
            for bad in ("ffff0000", "-1", "0x", "010", "0x10000000000000000", "pc")
        ),
        *(
            (f"walk 0 {bad}", f"'{bad}' is no length: expected a number of bytes, 1 or more")
            for bad in ("0", "-1", "x")
        ),
    ],
)
def test_what_is_not_understood_is_one_line(line: str, why: str) -> None:
    place = Place()
    with pytest.raises(InputError) as caught:
        TABLE.execute(place, line)
    assert str(caught.value) == why
    assert place.calls == []


def test_help_lists_all_with_what_they_take() -> None:
    for line in ("", "help", "h"):
        lines = TABLE.execute(Place(), line).splitlines()
        assert lines[:4] == [
            "help [COMMAND...]   List the commands, or describe one.",
            "walk ADDR [LENGTH]  Walk there.",
            "reset               Start over.",
            "regs [NAME...]      Registers.",
        ]


def test_help_of_one_is_its_docstring() -> None:
    assert TABLE.execute(Place(), "help wa") == (
        "monitor walk ADDR [LENGTH]\n\nWalk there.\n\nAs far as it goes.\n"
    )
    assert TABLE.execute(Place(), "help br li").startswith("monitor break list\n")


@given(st.text(max_size=30))
def test_no_line_raises_what_nobody_meant(line: str) -> None:
    try:
        said = TABLE.execute(Place(), line)
    except InputError as error:
        said = str(error)
    assert said.isascii() or not line.isascii()


def test_names_are_taken_once_and_have_help() -> None:
    table = Table[Place]()
    table.command("one")(reset)
    with pytest.raises(ValueError, match="two commands 'one'"):
        table.command("one")(reset)
    with pytest.raises(ValueError, match="no help"):
        table.command("two")(lambda place: "")
    with pytest.raises(KeyError):
        table.command("three", "ADDRES")
