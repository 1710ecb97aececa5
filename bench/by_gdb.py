"""Times of commands of a real GDB, which runs on this machine; the stub is in the lab.

Both stubs are reached by the same forwarded port, so GDB itself runs at full speed and what
is measured is the stub and the number of its packets.
"""

import re
import subprocess
from pathlib import Path
from typing import Final

GDB: Final = "gdb-multiarch"
_SECONDS: Final = 300

_TIMED: Final = (
    "python import time; t = time.monotonic(); gdb.execute({command!r}); "
    "print('took', time.monotonic() - t)"
)


def _time(port: int, guest: Path, before: tuple[str, ...], command: str) -> float:
    """Measure the seconds that *command* takes, after the commands *before*."""
    commands = [f"target remote localhost:{port}", *before, _TIMED.format(command=command)]
    argv = [GDB, "-nx", "-batch", str(guest)]
    for each in ("set pagination off", "set confirm off", *commands, "disconnect"):
        argv += ["-ex", each]
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=True
    )
    if not (match := re.search(r"^took ([\d.]+)", done.stdout, re.MULTILINE)):
        raise RuntimeError(f"gdb did not do {command}:\n{done.stdout}{done.stderr}")
    return float(match[1])


def false_hits(port: int, guest: Path, number: int) -> float:
    """Measure the seconds to a breakpoint's hit after *number* hits with a false condition."""
    # The number itself, not a convenience variable, which the stub cannot evaluate.
    condition = f'eval "break place if lap == %lu", lap + {number + 1}'
    return _time(port, guest, ("tbreak place", "continue", condition), "continue")


def next_over_a_loop(port: int, guest: Path, instructions: int) -> float:
    """Measure the seconds of ``next`` over a line that is a loop of so many *instructions*."""
    turns = f"set var turns = {instructions // 3}"
    return _time(port, guest, (turns, "set var wanted = 1", "tbreak lines", "continue"), "next")
