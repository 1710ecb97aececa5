"""LLDB, scripted or typed at."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.kvm.stub import Lines

_COMMAND: Final = ("lldb", "--no-lldbinit", "--no-use-colors")

_COMPLAINTS: Final = re.compile(
    r"warning:|(error|failed).*packet|lost connection|PLEASE submit a bug report"
)

# Its own words, and nothing of this user's.
_ENVIRONMENT: Final = {**os.environ, "LC_ALL": "C", "HOME": os.devnull}


def lldb(
    remote: str,
    symbols: Path | None,
    *commands: str,
    before: Sequence[str] = (),
    settings: Sequence[str] = (),
    timeout: float,
) -> str:
    """Attach with *settings*, after the commands *before*; run *commands* up to the first that
    fails, quit; all LLDB said."""
    settings = [f"settings set {each}" for each in settings]
    lines = (*settings, *before, f"gdb-remote {remote}", *commands)
    words = [word for line in lines for word in ("-o", line)]
    try:
        done = subprocess.run(
            [*_COMMAND, "--batch", *words, *([symbols] if symbols else [])],
            env=_ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=timeout,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"LLDB did not end; it said:\n{(error.stdout or b'').decode()}")
    assert not _COMPLAINTS.search(done.stdout), done.stdout
    return done.stdout


class Interactive:
    """An LLDB that is typed at, for what must happen while the guest runs."""

    def __init__(self, remote: str, symbols: Path) -> None:
        self._process = subprocess.Popen(
            [*_COMMAND, symbols], env=_ENVIRONMENT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.said = Lines(self._process.stdout)
        self.type(f"gdb-remote {remote}")
        # What is typed before LLDB knows of the stop may find no process.
        self.said.wait_for("Process 1 stopped")

    def type(self, *commands: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("".join(f"{line}\n" for line in commands).encode())
        self._process.stdin.flush()

    def wait_until_running(self) -> None:
        """Wait until LLDB itself knows that the guest runs: before, it ignores Ctrl-C."""
        asked, state = "", "stopped"
        while state == "stopped":
            self.type("process status")
            asked += r"\(lldb\) process status\n.*?"
            state = self.said.wait_for(rf"(?s){asked}Process 1 (stopped|is running)")[1]
        self._wait_until_it_reads()

    def _wait_until_it_reads(self) -> None:
        """Wait until its main thread reads the next line: during a command, Ctrl-C ends that."""
        call = Path(f"/proc/{self._process.pid}/syscall")
        while call.read_text().split()[1:2] != ["0x0"]:  # the descriptor
            time.sleep(0.01)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def finish(self, *commands: str, timeout: float) -> str:
        """Type the last commands; all that LLDB said."""
        self.type(*commands, "quit")
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            pytest.fail(f"LLDB did not end; it said:\n{self.said.text}")
        return self.said.rest()
