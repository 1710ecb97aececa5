"""Run one program for as long as its owner lives, then remove the owner's directory.

Run as a script, it is the parent of QEMU: the owner holds the other end of its standard input,
so the kernel itself tells it of the owner's end, however that came. It imports nothing of ours,
prints nothing, and does not start the program again.
"""

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(directory: str, lock: str, console: str, *argv: str) -> None:
    """Guard *argv*, which inherits the descriptor *console*; in the end remove *directory*.

    *lock* is a locked descriptor: nobody sweeps the directory while this process lives.
    """
    os.set_inheritable(int(lock), False)
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        if os.read(0, 1):  # the owner has put all in place
            guard(argv, int(console), Path(directory, "qemu.log"))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def guard(argv: tuple[str, ...], console: int, log: Path) -> None:
    """Start the program and stay until the owner is gone; then end the program."""
    with log.open("wb") as output:
        program = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[console],
            preexec_fn=die_with_parent,
        )
    os.close(console)  # so that the console ends when the program does
    try:
        owner = select.poll()
        owner.register(0, select.POLLHUP)
        owner.poll()
    finally:
        program.kill()
        program.wait()


def die_with_parent() -> None:
    """Have the kernel kill this process when the guard dies, were it by SIGKILL."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:  # the guard went before the call
        os._exit(1)


def leave(_signal: int, _frame: FrameType | None) -> None:
    """Leave through every ``finally``."""
    raise SystemExit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
