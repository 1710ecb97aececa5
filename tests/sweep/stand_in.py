"""A stand-in for ``gdbstub run``: the same options, environment and exit status, without a guest.

``--append`` has the faults that it shows: ``killed`` (by SIGKILL, before its script), ``lab`` (lost
during it), ``stuck`` (never begins it), ``refused`` (bad input). With ``once-`` before it a fault
is shown by the first attempt at a run only.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

RECORD = """\
<- $?
-> $T05thread:1;
<- $vCont;c
-> $T05thread:1;watch:ffff800009813df0;00:a03e81090080ffff;
"""


def option(name: str) -> str:
    found = (word.partition("=")[2] for word in sys.argv if word.startswith(f"--{name}="))
    return next(found, "")


def fault() -> str:
    found = option("append")
    if not found.startswith("once-"):
        return found
    try:
        Path(os.environ["STAND_IN"], f"{os.environ['GDBSTUB_RUN']}").touch(exist_ok=False)
    except FileExistsError:
        return ""
    return found.removeprefix("once-")


def main() -> int:
    shown = fault()
    if shown == "refused":
        print("gdbstub: --smp 9999: a guest has 1 to 123 vCPUs", file=sys.stderr)
        return 2
    if shown == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if shown == "stuck":
        signal.pause()
    Path(option("console") or os.devnull).write_text(f"run {os.environ['GDBSTUB_RUN']} boots\n")
    Path(option("record") or os.devnull).write_text(RECORD)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with subprocess.Popen(
        ["sh", "-c", option("script")], stdin=subprocess.DEVNULL, start_new_session=True
    ) as script:
        try:
            status = script.wait(float(option("timeout")))
        except subprocess.TimeoutExpired:
            return 124
        finally:
            if script.poll() is None:  # as ``gdbstub run`` does, whatever ends it
                os.killpg(script.pid, signal.SIGKILL)
    if shown == "lab":
        print("gdbstub: the lab's emulator, qemu-system-aarch64, has ended: was it killed?")
    return status if status >= 0 else 128 - status


sys.exit(main())
