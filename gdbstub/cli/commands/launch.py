"""``gdbstub launch``: another VMM is started, and its guest debugged from the first instruction."""

from typing import Any

import click

from gdbstub.cli.commands.group import session_options
from gdbstub.errors import InputError

#: The program of ``lab.vmm``.
_LAB_VMM = "qemu-system-aarch64"


@click.command(params=session_options(), context_settings={"allow_interspersed_args": False})
@click.argument("argv", metavar="VMM ARGS...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "--host", "where", type=click.Choice(["auto", "kvm", "lab"]), default="auto",
    help="Host of the VMM: this machine, or the lab, with Debian's QEMU in it.  "
    "auto is kvm on an arm64 machine with a usable /dev/kvm, else lab.",
)  # fmt: skip
@click.option("--free-run", is_flag=True, help="Start running, not halted.")
@click.option("--inner", is_flag=True, hidden=True)
def launch(
    argv: tuple[str, ...],
    where: str,
    free_run: bool,
    endpoint: str | None,
    verbose: int,
    **options: Any,  # noqa: ANN401
) -> int:
    """Start a VMM and debug its guest from its first instruction.

    It is halted there, unless --free-run is given.  Options of gdbstub come before VMM.  The exit
    status is the VMM's.
    """
    from gdbstub.cli.logs import set_up_logging
    from gdbstub.cli.settings.attach import read_attach_settings
    from gdbstub.cli.settings.endpoints import endpoint_text
    from gdbstub.cli.settings.run import choose_host

    set_up_logging(verbose)
    host = choose_host(where)
    if host == "lab" and argv[0] != _LAB_VMM:
        raise InputError(f"--host lab has one VMM: {_LAB_VMM}, Debian's; not {argv[0]!r}")
    with endpoint_text(endpoint, options["script"]) as text:
        settings = read_attach_settings(argv, halt=not free_run, endpoint=text, **options)
        if host == "lab":
            from gdbstub.cli.in_lab.launch import launch_in_lab

            return launch_in_lab(argv, settings, verbose)
        from gdbstub.cli.serving.attach import attach as serve  # the debugger, which takes longest

        return serve(settings)
