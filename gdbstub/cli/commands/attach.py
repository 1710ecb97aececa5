"""``gdbstub attach``: a session with a guest that runs in another VMM."""

from typing import Any

import click

from gdbstub.cli.commands.group import session_options


@click.command(params=session_options())
@click.argument("target", metavar="PID|NAME")
@click.option(
    "--ram", "rams", multiple=True, metavar="IPA=SIZE@HVA",
    help="Place of the guest's RAM: physical address, size and the VMM's address, such as "
    "0x40000000=512M@0x7f2e80000000; may be given again.  [default: found, and validated]",
)  # fmt: skip
@click.option("--halt", is_flag=True, help="Halt the guest at once, not when a client connects.")
@click.option("--inner", is_flag=True, hidden=True)
def attach(target: str, endpoint: str | None, verbose: int, **options: Any) -> int:  # noqa: ANN401
    """Debug a guest that runs in another VMM on this host.

    PID is the VMM's process, NAME its program's name or the guest's (QEMU's -name).  The guest
    runs on until a client connects, and after the last one has left.
    """
    from gdbstub.cli.logs import set_up_logging
    from gdbstub.cli.settings.attach import read_attach_settings
    from gdbstub.cli.settings.endpoints import endpoint_text
    from gdbstub.foreign import permission
    from gdbstub.foreign.process import choose

    set_up_logging(verbose)
    process = choose(target)
    with endpoint_text(endpoint, options["script"]) as text:
        settings = read_attach_settings(process, endpoint=text, **options)
        permission.check(process)
        from gdbstub.cli.serving.attach import attach as serve  # the debugger, which takes longest

        return serve(settings)
