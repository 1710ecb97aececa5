"""Progress: lines where nobody looks, a live table on a terminal."""

import os
import pty
import re
import subprocess
import threading
from io import StringIO

from gdbstub.sweep.outcome import RunOutcome, Status
from gdbstub.sweep.plan import SweepRun
from gdbstub.sweep.progress import Lines, ProgressTable
from tests.bounds import HANGS
from tests.sweep.conftest import Sweeps

NONE = dict.fromkeys(Status, 0)
RUN = SweepRun(7, {"smp": "2"}, 1)


def test_lines_for_a_log() -> None:
    stream = StringIO()
    with Lines(NONE, 3, stream) as lines:
        lines.finished(RUN, RunOutcome(7, Status.PASSED, 0))
        lines.repeated(RUN, "its worker was lost (KilledWorker)")
        lines.finished(RUN, RunOutcome(7, Status.FAILED, 1, "watch", "f\x1b[31m", 2.5))
        lines.grow(1)
        lines.tick(1)
    assert stream.getvalue().splitlines() == [
        "gdbstub: run 7 is executed again: its worker was lost (KilledWorker)",
        r"gdbstub: run 7  failed  2.5 s  smp=2  status 1 · watch · f\x1b[31m",
        "gdbstub: 2 of 4 runs: 1 passed, 1 failed",
    ]


def test_the_table() -> None:
    stream = StringIO()
    with ProgressTable(NONE, 3, stream) as table:
        for number in (7, 8):
            table.finished(
                SweepRun(number, {}, 1), RunOutcome(number, Status.FAILED, 1, "watch", "[f]")
            )
        table.finished(RUN, RunOutcome(7, Status.PASSED, 0))
        table.repeated(RUN, "its worker was lost")
        table.tick(0)
    text = stream.getvalue()
    assert re.search(r"3 of 3 │ +1 │ +2 │ +0 │", text)
    assert re.search(r"2 +│ 7 +│ status 1 · watch · \[f\]", text)
    assert "no worker is there: it waits for one" in text


def test_a_terminal_gets_the_table(sweeps: Sweeps) -> None:
    ours, theirs = pty.openpty()
    shown = bytearray()

    def read() -> None:
        while data := _read(ours):
            shown.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    words = sweeps.command("guest", "--runs=3", "--script=test $GDBSTUB_RUN != 2")
    done = subprocess.run(
        words, cwd=sweeps.directory, env={**sweeps.environment, "TERM": "xterm"}, stdin=theirs,
        stdout=theirs, stderr=theirs, timeout=HANGS, check=False,
    )  # fmt: skip
    os.close(theirs)
    reader.join()
    os.close(ours)
    assert done.returncode == 1
    assert re.search(r"3 of 3 │ +2 │", shown.decode())
    assert "status 1 · watch" in shown.decode()


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 4096)
    except OSError:  # the other end is closed
        return b""
