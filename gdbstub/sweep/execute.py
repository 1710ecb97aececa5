"""Execution of one run: ``gdbstub run --script`` as a process of its own, and its outcome.

The same function does it in a thread of this process and in a worker on another host.
"""

import contextlib
import json
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final, NamedTuple

from gdbstub.errors import StubError, one_line
from gdbstub.lab.host import OWN, VARIABLE
from gdbstub.lab.remote_run import LOST
from gdbstub.sweep.evidence import backtrace, stop_reason, tail
from gdbstub.sweep.outcome import RunOutcome, Status
from gdbstub.sweep.plan import GUEST, SweepPlan, SweepRun

#: Environment variables of a script: the number of its run, and its parameters as JSON.
NUMBER: Final = "GDBSTUB_RUN"
PARAMETERS: Final = "GDBSTUB_PARAMETERS"

RUNS: Final = "runs"
#: Name of a run's directory, as a regular expression: its number, and what ``mkdtemp`` adds.
RUN_NAME: Final = "[0-9]{6,}-[a-z0-9_]{8}"
#: Files of a run, by names that a browser shows.
CONSOLE: Final = "console.txt"
RECORD: Final = "record.txt"
OUTPUT: Final = "output.txt"
#: Core file of ``--vmcore-on``.
CORE: Final = "core.zst"
_BEGUN: Final = "begun"
_STATUS: Final = "status"
#: Files that are kept of each run; others, as core files, of the first of its group.
KEPT: Final = frozenset({CONSOLE, RECORD, OUTPUT})

#: Free space below which no run is started, in bytes.
NEEDED_BYTES: Final = 16 << 20
#: Time for ``gdbstub run`` to end after its script, and after SIGTERM.
_END_SECONDS: Final = 30.0
#: Exit status of ``gdbstub run --timeout``, as of coreutils' timeout.
_TIMED_OUT: Final = 124
#: Exit statuses of a shell that could not execute a command (POSIX, XCU 2.8.2).
_NO_SCRIPT: Final = {
    126: "as when a file cannot be executed",
    127: "as when a program is not found",
}
#: Characters of the console and of the output that are part of an outcome.
_SHOWN: Final = 4000


class SweepTask(NamedTuple):
    """All that a worker needs to execute a run."""

    plan: SweepPlan
    run: SweepRun
    #: Directory of the sweep.
    directory: Path
    attempt: int = 1


class Processes:
    """The processes of runs that are under way, to be ended together."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ended = False

    def add(self, process: subprocess.Popen[bytes]) -> None:
        """Add *process*; end it if all are to end."""
        with self._lock:
            self._running.add(process)
            if self._ended:
                process.terminate()

    def remove(self, process: subprocess.Popen[bytes]) -> None:
        """Remove *process*, which has ended."""
        with self._lock:
            self._running.discard(process)

    def end(self) -> None:
        """Send SIGTERM to all, and to those that come later."""
        with self._lock:
            self._ended = True
            for process in self._running:
                process.terminate()


def execute(task: SweepTask, processes: Processes | None = None) -> RunOutcome:
    """Execute a run to its end; return its outcome. Whatever fails is part of that."""
    began, clock = time.time(), time.monotonic()
    directory: Path | None = None
    try:
        if (free := shutil.disk_usage(task.directory).free) < NEEDED_BYTES:
            raise StubError(f"{task.directory} has {free >> 20} MB left: free some space")
        directory = Path(
            tempfile.mkdtemp(prefix=f"{task.run.number:06}-", dir=task.directory / RUNS)
        )
        code = _run(task, directory, processes or Processes())
        outcome = _outcome(task, directory, code)
    except (OSError, StubError) as error:
        # Names of files need not be Unicode, which the results are.
        outcome = RunOutcome(task.run.number, Status.ERROR, message=one_line(error))
    return outcome._replace(
        seconds=round(time.monotonic() - clock, 3),
        began=round(began, 3),
        host=socket.gethostname(),
        files=f"{RUNS}/{directory.name}" if directory else "",
        attempt=task.attempt,
    )


def run_words(plan: SweepPlan, run: SweepRun) -> list[str]:
    """Return the command line of a run, without its script and the files that it writes."""
    words = list(plan.command) or [sys.executable, "-m", "gdbstub", "run"]
    for name, value in run.parameters.items():
        words.append(value if name == GUEST else f"--{name}={value}")
    return [*words, *plan.flags]


def environment(run: SweepRun) -> dict[str, str]:
    """Return the environment of a run and of its script."""
    parameters = {**run.parameters, "seed": run.seed}
    return {
        VARIABLE: OWN,
        **os.environ,
        NUMBER: str(run.number),
        PARAMETERS: json.dumps(parameters),
    }


def _run(task: SweepTask, directory: Path, processes: Processes) -> int:
    """Run ``gdbstub run`` to its end; return its exit status."""
    plan = task.plan
    argv = [
        # The run ends with the thread that started it, however that ends.
        *("setpriv", "--pdeathsig", "TERM"),
        *run_words(plan, task.run),
        f"--console={directory / CONSOLE}",
        f"--record={directory / RECORD}",
        f"--timeout={plan.timeout:g}",
        *(("--vmcore-on", plan.vmcore_on, CORE) if plan.vmcore_on else ()),
        f"--script={_noted(plan, directory)}",
    ]
    with (
        (directory / OUTPUT).open("wb") as output,
        subprocess.Popen(
            argv,
            cwd=directory,  # where core files go
            env=environment(task.run),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a terminal's Ctrl-C is for the sweep
        ) as process,
    ):
        processes.add(process)
        try:
            return _wait(process, plan, directory)
        finally:
            processes.remove(process)
            if process.wait() < 0:  # else it has killed what its script left running
                _kill_script(directory)


def _noted(plan: SweepPlan, directory: Path) -> str:
    """Return the script as a command that notes its begin and its exit status in files."""
    begun, status = (shlex.quote(str(directory / name)) for name in (_BEGUN, _STATUS))
    return (
        f"cd {shlex.quote(plan.directory)} && echo $$ >{begun} && "
        f"{{ sh -c {shlex.quote(plan.script)}; s=$?; echo $s >{status}; exit $s; }}"
    )


def _wait(process: subprocess.Popen[bytes], plan: SweepPlan, directory: Path) -> int:
    if _ends(process, plan.start_timeout):
        return process.wait()
    if (directory / _BEGUN).exists():
        if _ends(process, plan.timeout + _END_SECONDS):
            return process.wait()
        why = f"gdbstub run did not end {_END_SECONDS:g} s after its script's time"
    else:
        why = f"the script had not begun after {plan.start_timeout:g} s"
    process.terminate()
    if not _ends(process, _END_SECONDS):
        process.kill()
    process.wait()
    raise StubError(why)


def _ends(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for the end of *process*, which ``Popen.wait`` would poll for; return True at it."""
    pidfd = os.pidfd_open(process.pid)
    try:
        return bool(select.select([pidfd], [], [], seconds)[0])
    finally:
        os.close(pidfd)


def _kill_script(directory: Path) -> None:
    """Kill the script of a ``gdbstub run`` that was killed itself."""
    with contextlib.suppress(OSError, ValueError):
        os.killpg(int((directory / _BEGUN).read_text()), signal.SIGKILL)


def _outcome(task: SweepTask, directory: Path, code: int) -> RunOutcome:
    output = tail(directory / OUTPUT)
    status = _read_status(directory)
    begun = (directory / _BEGUN).exists()
    for name in (_BEGUN, _STATUS):
        (directory / name).unlink(missing_ok=True)
    found = RunOutcome(
        task.run.number,
        Status.ERROR,
        console=tail(directory / CONSOLE, _SHOWN),
        output=output[-_SHOWN:],
    )
    lost = next((line for line in output.splitlines() if any(text in line for text in LOST)), "")
    if status == 0:
        return found._replace(status=Status.PASSED, exit_status=0)
    if status in _NO_SCRIPT and not lost:
        last = _last_line(output)
        why = f"the script ended with status {status}, {_NO_SCRIPT[status]}: {last}"
        return found._replace(exit_status=status, message=why)
    if (status is not None and not lost) or (code == _TIMED_OUT and begun):
        return found._replace(
            status=Status.FAILED if status is not None else Status.TIMEOUT,
            exit_status=status,
            stop_reason=stop_reason(tail(directory / RECORD)),
            backtrace=backtrace(output),
        )
    return found._replace(message=lost.removeprefix("gdbstub: ") or _reason(code, output))


def _read_status(directory: Path) -> int | None:
    try:
        return int((directory / _STATUS).read_text())
    except (FileNotFoundError, ValueError):  # or an empty file, on a full disk
        return None


def _reason(code: int, output: str) -> str:
    if code < 0:
        return f"gdbstub run was killed by {signal.Signals(-code).name}"
    said = [line for line in output.splitlines() if line.startswith("gdbstub: ")]
    last = said[-1].removeprefix("gdbstub: ") if said else _last_line(output)
    return f"gdbstub run ended with status {code}: {last}"


def _last_line(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
