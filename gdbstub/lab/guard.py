"""The guard process of a lab: run QEMU while the owner lives, then remove the lab's directory.

It is run as a script. The owner holds the other end of its standard input, so that the kernel
closes it at the owner's end, even by SIGKILL. It imports nothing of the project, prints nothing,
and does not restart QEMU.
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
    """Run *argv*, which inherits the descriptor *console*; in the end remove *directory*.

    *lock* is a locked descriptor, which keeps ``boot.sweep`` from removing the directory.
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
    """Start the program; wait for the owner's end; then kill the program."""
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
    """Have the kernel kill this process when the guard ends, even by SIGKILL."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:  # the guard went before the call
        os._exit(1)


def leave(_signal: int, _frame: FrameType | None) -> None:
    """End the guard with its ``finally`` clauses run; the handler of SIGTERM."""
    raise SystemExit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
