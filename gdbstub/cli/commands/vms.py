"""``gdbstub vms``: the KVM guests of this host, as a table."""

import os
import sys
from contextlib import suppress

import click

from gdbstub.errors import InputError
from gdbstub.streams import note

#: More columns than any row has.
_WIDE = 1000


@click.command()
def vms() -> int:
    """List this host's KVM guests, and say which can be attached to."""
    from rich.console import Console
    from rich.table import Table

    from gdbstub.foreign import permission, slots
    from gdbstub.foreign.process import check_vms, processes_with_vms

    table = Table(box=None, pad_edge=False)
    for heading in ("pid", "VMM", "vCPUs", "RAM", "attachable"):
        table.add_column(heading)
    found = False
    for process, descriptors in processes_with_vms():
        try:
            permission.check(process)
            check_vms(process, descriptors)
            verdict = "yes"
        except InputError as error:
            verdict = f"no: {error}"
        with suppress(InputError):  # it has ended meanwhile
            largest = next(slots.candidates(process), None)
            ram = f"{largest.size >> 20} MiB" if largest else "?"
            row = (str(process.pid), process.name, str(len(descriptors.vcpus)), ram, verdict)
            table.add_row(*row)
            found = True
    if not found:
        others = "; as root, those of other users are listed, too" if os.geteuid() else ""
        note(f"this user can see no process with a VM{others}")
        return 1
    # For a program that reads it, a guest is one line, however long.
    width = None if sys.stdout.isatty() else _WIDE
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True, width=width)
    console.print(table)
    return 0
