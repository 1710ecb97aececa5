"""Records GDB's sessions of ``tests/pure/sessions``: ``python -m tests.gdb.transcript GDB``."""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.pure.able_target import AbleTarget
from tests.recording import Client, major_version, record

_SETTINGS: Final = ("set confirm off", "set width 0", "set architecture aarch64")

_GENERAL: Final = (
    "info threads",
    "bt",
    "x/4xw $pc",
    "print $v3",
    "set var $x1 = 7",
    "set var *(int *) 0x40000100 = 0x12345678",
    "find 0x40000000, 0x40000fff, (char) 0x78, (char) 0x56",
    "break *0x40000020",
    "continue",
    "stepi",
    "delete 1",
    "watch *(long *) 0x40000200",
    "hbreak *0x40000080",
    "continue",
    "thread 2",
    "maintenance packet Qqemu.PhyMemMode:1",
    "x/xg 0x90000000",
    "maintenance packet Qqemu.PhyMemMode:0",
    "detach",
    "attach 1",
    "delete",
    "kill",
    "starti",
    "detach",
)
_CONDITIONS: Final = (
    "monitor help",
    "monitor nonsense",
    "break *0x40000020 if $x0 == 5",
    "break *0x40000040 if $x1 == 0 && *(int *) 0x40000000 < 0",
    "set dprintf-style agent",
    r'dprintf *0x40000030,"x1 is %d\n",$x1',
    "continue",
    "condition 1 $x0 == 0",
    "condition 2 $x0 == 1",
    "hbreak *0x40000080 if $sp == 0",
    "jump *0x40000000",
    "continue",
    "delete",
    "detach",
)
_PROGRAM: Final = (
    "load",
    "compare-sections",
    "info line",
    "next",
    "step",
    "rwatch *(int *) 0x40000100",
    "awatch *(int *) 0x40000108",
    "stepi 2",
    "set scheduler-locking on",
    "thread 2",
    "stepi",
    "set scheduler-locking off",
    "thread 1",
    "print $pc = 0x40000000",
    "signal SIGTERM",
    "x/i $pc",
    "delete",
)
#: Commands that ask the target about itself, for a GDB that was given no program.
_SYSTEM: Final = (
    "info files",
    "info line _start",
    "info os",
    "info os threads",
    "info sharedlibrary",
    "memory-tag check 0x40000000",
    "memory-tag set-allocation-tag 0x40000000 32 0503",
    "memory-tag print-allocation-tag 0x40000010",
    "detach",
)
#: A GDB without what the others make use of...
_WITHOUT: Final = (
    "verbose-resume",
    "threads",
    "set-register",
    "binary-download",
    "binary-upload",
    "kill",
    "run",
)
#: ...has these instead.
_PLAIN: Final = (
    "info threads",
    "x/4xw $pc",
    "set var $x1 = 7",
    "set var *(int *) 0x40000100 = 0x12345678",
    "break *0x40000020",
    "continue",
    "stepi",
    "queue-signal SIGTERM",
    "stepi",
    "tbreak *0x40000040",
    "signal SIGTERM",
    "set scheduler-locking on",
    "thread 2",
    "stepi",
    "kill",
    "starti",
    "stepi",
    "detach",
)


def _gdb(
    program: str,
    attach: str,
    commands: Sequence[str],
    *,
    symbols: bool = False,
    without: Sequence[str] = (),
) -> Client:
    """A GDB that does *commands*; where one of them runs the guest for ever, Ctrl-C ends it.

    *without* names the packets that it must not use, as ``set remote NAME-packet`` does.
    """

    def client(remote: str, elf: Path, target: AbleTarget) -> str:
        file = (f"file {elf}",) if symbols else ()
        off = (f"set remote {name}-packet off" for name in without)
        lines = (*_SETTINGS, *off, *file, f"target {attach} {remote}", *commands)
        process = subprocess.Popen(
            [program, "-nx", "-nh", "-batch", *(word for line in lines for word in ("-ex", line))],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        interrupted = False
        while process.poll() is None:
            time.sleep(0.1)
            if "detach" not in target.calls and target.running and not interrupted:
                interrupted = True
                process.send_signal(signal.SIGINT)
        return process.communicate()[0]

    return client


def main(program: str) -> None:
    """Hold them all."""
    name = "gdb-" + major_version(program, r"GNU gdb .* (\d+)\.")
    record(_gdb(program, "extended-remote", _GENERAL), name)
    record(_gdb(program, "remote", _CONDITIONS), f"{name}-conditions")
    record(_gdb(program, "remote", _PROGRAM, symbols=True), f"{name}-program")
    record(_gdb(program, "remote", _SYSTEM), f"{name}-system", names_file=True)
    record(_gdb(program, "extended-remote", _PLAIN, without=_WITHOUT), f"{name}-plain")


if __name__ == "__main__":
    main(sys.argv[1])
