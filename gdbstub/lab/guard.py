"""The guard process of a lab: run QEMU while the owner lives, then remove the lab's directory.

It is run as a script. The owner holds the other end of its standard input, so that the kernel
closes it at the owner's end, even by SIGKILL. An owner that says ``KEEP`` may end: QEMU then runs
until it is told to quit. The guard imports nothing of the project, prints nothing, and does not
restart QEMU.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG = 1  # linux/prctl.h
START = b"s"
KEEP = b"k"


def main(directory: str, lock: str, inherited: str, *argv: str) -> None:
    """Run *argv* with the descriptors *inherited* (``5,6``); in the end remove *directory*.

    *lock* is a locked descriptor, which keeps ``directories.remove_stale`` from doing that.
    """
    os.set_inheritable(int(lock), False)
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        if os.read(0, 1) == START:  # the owner has put all in place
            guard(argv, [int(fd) for fd in inherited.split(",")], Path(directory, "qemu.log"))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def guard(argv: tuple[str, ...], inherited: list[int], log: Path) -> None:
    """Start the program; wait for the owner's end, or the program's if kept; then kill it."""
    with log.open("wb") as output:
        program = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=inherited,
            preexec_fn=die_with_parent,
        )
    for fd in inherited:  # so that console and monitor end when the program does
        os.close(fd)
    try:
        if os.read(0, 1) == KEEP:
            program.wait()
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
