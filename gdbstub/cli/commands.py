"""The commands for people, by click: ``gdbstub run``, ``lab`` and ``doctor``.

They call the packages below; they are imported when their command is called.
"""

from typing import Any, Final

import click

from gdbstub import __version__
from gdbstub.cli.options import RUN, Option
from gdbstub.errors import InputError

_FOREIGN: Final = ("attach", "launch", "vms", "recover")
_GROUPS: Final = ("run", *_FOREIGN, "doctor", "symbols", "sweep", "lab")


class _Commands(click.Group):
    """Group of commands that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_GROUPS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "lab":
            from gdbstub.cli.lab import lab

            return lab
        if cmd_name == "sweep":
            from gdbstub.cli.sweep import sweep

            return sweep
        if cmd_name == "symbols":
            from gdbstub.cli.symbols import symbols

            return symbols
        if cmd_name in _FOREIGN:
            from gdbstub.cli import foreign

            found: click.Command = getattr(foreign, cmd_name)
            return found
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gdbstub")
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
        type=click.Choice(option.choices) if option.choices else option.convert,
        default=option.default,
        show_default=option.show_default,
        metavar=option.metavar,
        help=option.help,
        hidden=not option.help,
    )


@commands.command(
    params=[
        click.Argument(["guest"], required=False, metavar="[GUEST]"),
        *map(click_option, RUN),
    ]
)
def run(**values: Any) -> int:  # noqa: ANN401 - click's own
    """Run GUEST and serve GDB.

    GUEST is a static AArch64 ELF or a Linux arm64 Image (raw, gzip, zstd, EFI zboot); the
    default is a small Linux guest.  It is halted at its first instruction until a client
    resumes it.
    """
    from gdbstub.cli.settings import run_with

    return run_with(**values)


@commands.command()
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def doctor(as_json: bool) -> int:
    """Show what this host can do, what is missing, and how to install that."""
    from gdbstub.cli.doctor import examine, show

    return show(examine(), as_json=as_json)


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
        raise InputError(" ".join(error.format_message().split())) from None
    except click.Abort:
        return 130
    return status if isinstance(status, int) else 0
