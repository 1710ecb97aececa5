"""The commands for people, by click; ``gdbstub run`` and ``doctor`` are defined here.

They call the packages below, which are imported when their command is called, as are the modules
of the other commands.
"""

from pathlib import Path
from typing import Any, Final

import click

from gdbstub.cli.options import RUN, Option
from gdbstub.errors import InputError

#: Unchecked: where it is read, the error is ours. Shells complete it.
_FILE: Final = click.Path(path_type=Path, readable=False)
_GUEST: Final = click.Argument(
    ["guest"], required=False, metavar="[GUEST]", type=click.Path(readable=False)
)
_FOREIGN: Final = ("attach", "launch", "vms", "recover")
_GROUPS: Final = ("run", *_FOREIGN, "doctor", "symbols", "sweep", "drgn", "lab")


class _Commands(click.Group):
    """Group of commands that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_GROUPS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "lab":
            from gdbstub.cli.commands.lab import lab

            return lab
        if cmd_name == "sweep":
            from gdbstub.cli.commands.sweep import sweep

            return sweep
        if cmd_name == "symbols":
            from gdbstub.cli.commands.symbols import symbols

            return symbols
        if cmd_name == "drgn":
            from gdbstub.cli.commands.drgn import drgn

            return drgn
        if cmd_name in _FOREIGN:
            from gdbstub.cli.commands import foreign

            found: click.Command = getattr(foreign, cmd_name)
            return found
        return super().get_command(ctx, cmd_name)


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
    kind = _FILE if option.convert is Path else option.convert
    if option.convert is len:
        return click.Option(names, count=True, help=option.help)
    if option.convert is bool:
        return click.Option(names, is_flag=True, help=option.help, hidden=not option.help)
    return click.Option(
        names,
        type=click.Choice(option.choices) if option.choices else kind,
        default=option.default,
        nargs=option.texts,
        show_default=option.show_default,
        metavar=option.metavar,
        help=option.help,
        hidden=not option.help,
    )


@commands.command(
    params=[
        _GUEST,
        *map(click_option, RUN),
    ]
)
def run(**values: Any) -> int:  # noqa: ANN401 - click's own
    """Run GUEST and serve GDB.

    GUEST is a Linux arm64 Image (raw, gzip, zstd, EFI zboot), a kernel's tree with one, a
    static AArch64 ELF or a raw binary; the default is a small Linux guest.  It is halted at
    its first instruction until a client resumes it.
    """
    from gdbstub.cli.settings.run import run_with

    return run_with(**values)


@commands.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON, for scripts.")
def doctor(as_json: bool) -> int:
    """Show what this host can do, and how to install what is missing."""
    from gdbstub.cli.doctor import examine, show

    return show(examine(), as_json=as_json)


def _by_habit(arguments: list[str]) -> str:
    """Explain options of QEMU among the *arguments* of ``run``, or of no command."""
    from gdbstub.cli.commands.qemu_options import explain

    command, *words = arguments
    if command.startswith("-"):
        return explain(arguments)
    return explain(words) if command == "run" else ""


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
        said = " ".join(error.format_message().split())
        if isinstance(error, click.NoSuchOption):
            said = _by_habit(arguments) or said
        raise InputError(said) from None
    except click.Abort:
        return 130
    return status if isinstance(status, int) else 0
