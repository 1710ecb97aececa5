"""``gdbstub symbols``: a vmlinux with the function symbols that a Linux Image has of itself.

``lab.demo`` makes and keeps it.
"""

from pathlib import Path
from typing import Final

import click

from gdbstub.errors import InputError
from gdbstub.lab import demo
from gdbstub.vmm.files import Bound, check_input, read_input

_MOST: Final = Bound(1 << 30, "the most of a kernel's Image")


@click.command()
@click.argument("name", metavar="IMAGE")
def symbols(name: str) -> None:
    """Print the path of a vmlinux with an IMAGE's function symbols.

    They come from the kernel's kallsyms, without types and lines.  It takes 6 s, and no time if
    the same IMAGE was asked for before.
    """
    if not name:
        raise InputError("symbols: a file's name is missing")
    image = Path(name)
    check_input(image, "symbols")
    click.echo(demo.symbols(image, read_input(image, "symbols", _MOST)))
