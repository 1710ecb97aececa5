"""``gdbstub run``: a session with a guest of its own.

In a lab it goes without this, and without click: see ``main``.
"""

from typing import Any, Final

import click

from gdbstub.cli.commands.group import click_option
from gdbstub.cli.options import RUN

_GUEST: Final = click.Argument(
    ["guest"], required=False, metavar="[GUEST]", type=click.Path(readable=False)
)


@click.command(params=[_GUEST, *map(click_option, RUN)])
def run(**values: Any) -> int:  # noqa: ANN401 - click's own
    """Run GUEST and serve GDB.

    GUEST is a Linux arm64 Image (raw, gzip, zstd, EFI zboot), a kernel's tree with one, a
    static AArch64 ELF or a raw binary; the default is a small Linux guest.  It is halted at
    its first instruction until a client resumes it.
    """
    from gdbstub.cli.main import run_with

    return run_with(**values)
