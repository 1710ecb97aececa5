"""``gdbstub symbols``: a vmlinux with the function symbols that a Linux Image has of itself.

``lab.demo`` makes and keeps it.
"""

from pathlib import Path

import click

from gdbstub.errors import InputError, LabError
from gdbstub.lab import demo
from gdbstub.vmm.files import check_input


@click.command()
@click.argument("image", type=Path, metavar="IMAGE")
def symbols(image: Path) -> None:
    """Print the path of a vmlinux with an IMAGE's function symbols.

    They come from the kernel's kallsyms, without types and lines.  It takes 15 s, and no time if
    the same IMAGE was asked for before.
    """
    check_input(image, "symbols")
    try:
        click.echo(demo.symbols(image))
    except LabError as error:
        raise InputError(
            f"symbols {image}: {error}; expected a Linux Image with CONFIG_KALLSYMS"
        ) from None
