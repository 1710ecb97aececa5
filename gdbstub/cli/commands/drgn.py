"""``gdbstub drgn``: starts drgn on the guest of a running stub, by the socket of its ``--qmp``."""

import os
import shutil
import sys
from pathlib import Path

import click

from gdbstub.errors import InputError

_PROGRAM = "drgn"


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--qmp", "qmp", metavar="unix:PATH",
    help="Socket that gdbstub run --qmp has made.  [default: that of the --script it is called in]",
)  # fmt: skip
@click.argument("arguments", metavar="[ARGS]...", nargs=-1, type=click.UNPROCESSED)
def drgn(qmp: str | None, arguments: tuple[str, ...]) -> None:
    """Start drgn, with ARGS, on a guest that runs or is halted.

    Types and variables need the kernel's vmlinux with debug information: -s FILE.
    """
    path = _socket(qmp)
    beside = Path(sys.executable).with_name(_PROGRAM)
    program = str(beside) if beside.exists() else shutil.which(_PROGRAM)
    if program is None:
        raise InputError("drgn not found: pip install 'kvm-gdbstub[linux]'")
    os.execv(program, [_PROGRAM, "--qemu", path, *arguments])


def _socket(qmp: str | None) -> str:
    """Return the path of the socket that is meant.

    Raises:
        InputError: there is none.
    """
    if qmp is None:
        qmp = f"unix:{given}" if (given := os.environ.get("GDB_QMP")) else None
    if qmp is None:
        raise InputError("drgn: give --qmp unix:PATH, as gdbstub run was given it")
    path = qmp.removeprefix("unix:")
    if path in (qmp, ""):
        raise InputError(f"--qmp {qmp}: expected unix:PATH")
    try:
        there = Path(path).is_socket()
    except OSError as error:  # a name that is too long, or a directory that is not ours
        raise InputError(f"--qmp {qmp}: {error.strerror}") from None
    if not there:
        raise InputError(f"--qmp {qmp}: no socket is there; gdbstub run --qmp {qmp} makes it")
    return os.path.abspath(path)
