"""The group of all commands, its errors, and the options that several commands have.

A command's module is imported when the command is used, and imports what does the work when the
command is called.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gdbstub.cli.commands.parameters import File, Float, Integer
from gdbstub.cli.options import Option, foreign_options
from gdbstub.errors import InputError
from gdbstub.numbers import parse_float, parse_integer

if TYPE_CHECKING:
    from collections.abc import Callable

#: Types of click's own in place of a function.
_TYPES: "Final[dict[Callable[[str], object], click.ParamType[Any]]]" = {
    Path: File(),
    parse_integer: Integer(),
    parse_float: Float(),
}
#: Commands in the order of the help; each is in the module of its name.
_COMMANDS: Final = (
    *("run", "attach", "launch", "vms", "recover"),
    *("doctor", "symbols", "sweep", "drgn", "lab"),
)


class _Commands(click.Group):
    """Group of commands that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        found: click.Command = getattr(import_module(f"{__package__}.{cmd_name}"), cmd_name)
        return found


def _show_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from gdbstub.cli.version import version

        click.echo(f"gdbstub, version {version()}")
        ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version,
    help="Show the version and the commit, and exit.",
)  # fmt: skip
def commands() -> None:
    """Run a GDB remote stub for KVM arm64 guests."""


def click_option(option: Option) -> click.Option:
    """Return *option* as click's own."""
    names = [option.flag, option.name]
    if option.convert is len:
        return click.Option(names, count=True, help=option.help)
    if option.convert is bool:
        return click.Option(names, is_flag=True, help=option.help, hidden=not option.help)
    return click.Option(
        names,
        type=click.Choice(option.choices)
        if option.choices
        else _TYPES.get(option.convert, option.convert),
        default=option.default,
        nargs=option.texts,
        show_default=option.show_default,
        metavar=option.metavar,
        help=option.help,
        hidden=not option.help,
    )


def session_options() -> list[click.Parameter]:
    """Return the options of a session with a guest of another VMM, as click's own."""
    return list(map(click_option, foreign_options()))


def call_command(arguments: list[str]) -> int:
    """Run the command line *arguments*; return the exit status. Raises what the command raises.

    It is 2 for bad input that click finds, and 130 after Ctrl-C.
    """
    try:
        status = commands.main(arguments, prog_name="gdbstub", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
        return 2
    except click.ClickException as error:
        from gdbstub.cli.commands.usage_errors import refusal

        raise InputError(refusal(error, arguments, commands)) from None
    except click.Abort:
        return 130
    return status if isinstance(status, int) else 0
