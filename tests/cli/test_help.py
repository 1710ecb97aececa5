"""The program's help and version."""

from collections.abc import Iterator

import click
import pytest

from gdbstub import __version__
from gdbstub.cli.commands.group import commands
from tests.cli.program import GDBSTUB, RUN_STUB, Place

OPTIONS = (
    "--host", "--gdb", "--smp", "--memory", "--load", "--initrd", "--append", "--dtb",
    "--kaslr-seed", "--symbols", "--stop-on", "--vmcore-on", "--qmp", "--no-reboot", "--free-run",
    "--console", "--script", "--timeout", "--record", "-v", "-h, --help",
)  # fmt: skip


def said(place: Place, *arguments: str, status: int = 0) -> str:
    done = place.call(*arguments)
    assert (done.returncode, done.stderr) == (status, "")
    return done.stdout


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help(place: Place, option: str) -> None:
    text = said(place, option)
    names = (
        *("run", "attach", "launch", "vms", "recover", "doctor", "symbols", "sweep", "drgn", "lab"),
    )
    for command in names:
        assert f"\n  {command} " in text


def test_no_command_is_a_call_for_help(place: Place) -> None:
    assert said(place, status=2) == said(place, "--help")


def test_help_on_run_names_every_option(place: Place) -> None:
    text = said(place, "run", "--help")
    for option in OPTIONS:
        assert f"\n  {option}" in text
    assert "--inner" not in text


def test_help_on_the_others(place: Place) -> None:
    assert "--json" in said(place, "doctor", "-h")
    assert "shell" in said(place, "lab", "-h")
    assert "bisect" in said(place, "sweep", "-h")


@pytest.mark.parametrize("group", [[], ["lab"], ["sweep"]], ids=["gdbstub", "lab", "sweep"])
def test_the_purpose_of_each_command_is_a_whole_sentence(place: Place, group: list[str]) -> None:
    listed = said(place, *group, "--help").partition("Commands:\n")[2].splitlines()
    assert listed
    for line in listed:
        assert line.endswith(".")
        assert "..." not in line.replace("GUEST...", "")


def helps(command: click.Command, context: click.Context | None = None) -> Iterator[str]:
    """Return the help of *command* and of each command in it."""
    context = click.Context(command, context)
    yield command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found
            yield from helps(found, context)


def test_help_shows_bounds_where_there_are_some() -> None:
    texts = list(helps(commands))
    assert any("[default: 1000; x>=3]" in " ".join(text.split()) for text in texts)
    assert not [text for text in texts if "None" in text]


def test_version(place: Place) -> None:
    assert said(place, "--version") == f"gdbstub, version {__version__}\n"


def test_the_script_is_run(place: Place) -> None:
    assert place.call("--help", program=RUN_STUB).stdout == said(place, "run", "--help")


def test_closed_streams(place: Place) -> None:
    """A service manager may start a program with its standard streams closed."""
    shell = ("sh", "-c", 'exec "$0" -m gdbstub run absent <&- >&- 2>&-', GDBSTUB[0])
    shell_path = {**place.environment, "PATH": "/usr/bin:/bin"}
    place.environment = shell_path
    assert place.call(program=shell).returncode == 2
