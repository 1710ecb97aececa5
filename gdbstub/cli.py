"""The command line: ``gdbstub run``, ``lab`` and ``doctor``.

It reads options and picks rooms; every heavy import waits until its command is called.
"""

import asyncio
import logging
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gdbstub import __version__
from gdbstub.errors import InputError, StubError

if TYPE_CHECKING:
    from gdbstub.run import Settings

_GROUPS = ("run", "doctor", "lab")


class _Commands(click.Group):
    """Imports a command's module when the command is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_GROUPS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "lab":
            from gdbstub.lab.commands import lab

            return lab
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gdbstub")
def commands() -> None:
    """A GDB remote stub for KVM arm64 guests."""


@commands.command()
@click.argument("guest", required=False, metavar="[GUEST]")
@click.option(
    "--host", "where", type=click.Choice(["auto", "kvm", "lab"]), default="auto",
    help="Where the guest runs: this machine's KVM, or an emulated arm64 host.  "
    "auto takes kvm on an arm64 machine with a usable /dev/kvm, else lab.",
)  # fmt: skip
@click.option(
    "--gdb", "endpoint", default="localhost:1234", show_default=True, metavar="ENDPOINT",
    help="HOST:PORT (port 0 picks a free one), unix:PATH or stdio.",
)  # fmt: skip
@click.option("--smp", type=int, default=1, show_default=True, metavar="N", help="vCPUs.")
@click.option("--memory", default="512M", show_default=True, metavar="SIZE", help="Guest RAM.")
@click.option("--initrd", type=Path, metavar="FILE", help="Initial RAM disk of a Linux guest.")
@click.option("--append", metavar="TEXT", help="Kernel command line.")
@click.option("--dtb", type=Path, metavar="FILE", help="Device tree to use instead of our own.")
@click.option(
    "--symbols", type=Path, metavar="FILE",
    help="What the printed gdb command loads.  [default: GUEST, if it is an ELF]",
)  # fmt: skip
@click.option("--free-run", is_flag=True, help="Start running, not halted.")
@click.option(
    "--console", default="-", metavar="FILE|-",
    help="Where the guest's serial console goes; with - (standard output), a terminal's keys "
    "go to the guest.",
)  # fmt: skip
@click.option(
    "--script", metavar="CMD",
    help="When listening, run CMD with GDB_REMOTE and GDB_SYMBOLS in its environment; stop the "
    "guest when it ends and exit with its status.",
)  # fmt: skip
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
    help="With --script: kill CMD after so long and exit with 124.",
)  # fmt: skip
@click.option(
    "--record", metavar="FILE",
    help="Write the conversation, a line a packet: <- from the client, -> to it.",
)  # fmt: skip
@click.option("-v", "verbose", count=True, help="Log; -vv logs every packet and every exit.")
@click.option("--inner", is_flag=True, hidden=True)
def run(where: str, verbose: int, **options: Any) -> int:  # noqa: ANN401 - click's own
    """Run GUEST and serve GDB.

    GUEST is a static AArch64 ELF or a Linux arm64 Image (raw, gzip, zstd, EFI zboot); without
    it, a small Linux guest is made.  The guest is halted at its first instruction until a
    client lets it go.
    """
    set_up_logging(verbose)
    settings = read_settings(**options)
    if choose_host(where) == "kvm":
        from gdbstub.run import serve

        return asyncio.run(serve(settings))
    from gdbstub.run_in_lab import serve_in_lab

    return serve_in_lab(settings, verbose)


def read_settings(
    *,
    guest: str | None,
    endpoint: str,
    smp: int,
    memory: str,
    initrd: Path | None,
    append: str | None,
    dtb: Path | None,
    symbols: Path | None,
    free_run: bool,
    console: str,
    script: str | None,
    timeout: float | None,
    record: str | None,
    inner: bool,
) -> "Settings":
    """Read the files that were named and check all that can be checked without KVM.

    Raises:
        InputError: something cannot be used, and why.
    """
    from gdbstub.endpoint import Stdio, parse_endpoint
    from gdbstub.run import Files, Settings
    from gdbstub.vmm import image
    from gdbstub.vmm.files import read_input
    from gdbstub.vmm.guest import GuestConfig, check
    from gdbstub.vmm.size import parse_memory

    where = parse_endpoint(endpoint)
    if timeout is not None and script is None:
        raise InputError("--timeout is for --script; give both or neither")
    if script is not None and isinstance(where, Stdio):
        raise InputError("--script cannot talk to --gdb stdio; give HOST:PORT or unix:PATH")
    if symbols is not None:
        read_input(symbols, "--symbols")
    size = parse_memory(memory)
    if guest is None:
        from gdbstub.lab import demo

        files = demo.prepare()
        guest, initrd = str(files.image), initrd or files.initrd
        append = demo.COMMAND_LINE if append is None else append
        symbols = symbols or files.symbols
    path = Path(guest)
    loaded = image.load(path, size)
    if symbols is None and not isinstance(loaded, image.LinuxImage):
        symbols = path
    config = GuestConfig(
        image=loaded,
        memory=size,
        vcpus=smp,
        append=append,
        initrd=read_input(initrd, "--initrd") if initrd else None,
        dtb=read_input(dtb, "--dtb") if dtb else None,
    )
    check(config)
    return Settings(
        guest=config,
        files=Files(path, initrd, dtb),
        endpoint=where,
        symbols=str(symbols or ""),
        free_run=free_run,
        console=console,
        script=script,
        timeout=timeout,
        record=record,
        inner=inner,
    )


def choose_host(where: str) -> str:
    """``kvm`` or ``lab``: what *where*, the argument of --host, comes to on this machine."""
    if where != "auto":
        return where
    usable = platform.machine() == "aarch64" and os.access("/dev/kvm", os.R_OK | os.W_OK)
    return "kvm" if usable else "lab"


@commands.command()
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def doctor(as_json: bool) -> int:
    """Say what this host can do, what is missing and how to get it."""
    from gdbstub.doctor import examine, show

    return show(examine(), as_json=as_json)


def set_up_logging(verbose: int) -> None:
    """Log to standard error: warnings, with one -v what happens, with two everything."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.basicConfig(level=logging.WARNING, format="gdbstub: %(message)s", stream=sys.stderr)
    logging.getLogger("gdbstub").setLevel(level)


def main() -> None:
    """The console script: every deliberate error becomes one line and an exit status."""
    sys.exit(call(sys.argv[1:]))


def call(arguments: list[str]) -> int:
    """Run the command line *arguments*; return the exit status: 2 for bad input."""
    try:
        status = commands.main(arguments, prog_name="gdbstub", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
        return 2
    except click.ClickException as error:
        return _complain(error.format_message(), 2)
    except InputError as error:
        return _complain(str(error), 2)
    except StubError as error:
        return _complain(str(error), 1)
    except click.Abort:
        return 130
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if type(error).__name__ != "LabError":  # a class of a room that may not be loaded
            raise
        return _complain(str(error), 1)
    return status if isinstance(status, int) else 0


def _complain(text: str, status: int) -> int:
    print(f"gdbstub: {' '.join(text.split())}", file=sys.stderr)
    return status
