"""``gdbstub recover``: what a killed debugger has left in a guest of another VMM, undone."""

import click

from gdbstub.cli.commands.parameters import Integer


@click.command()
@click.argument("pid", type=Integer(), metavar="PID")
def recover(pid: int) -> int:
    """Undo what a killed debugger has left in the guest of process PID.

    That is breakpoints in its memory, and debug registers.  Attaching does the same.
    """
    from gdbstub.foreign.process import choose

    process = choose(str(pid))  # there is one
    from gdbstub.cli.serving.attach import recovered

    return recovered(process.pid)
