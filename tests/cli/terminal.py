"""A terminal with the program on it: what is typed, what is shown, and how it is left."""

import fcntl
import os
import pty
import re
import select
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.bounds import HANGS
from tests.cli.program import GDBSTUB


class Terminal:
    """Runs ``gdbstub ARGUMENTS`` as the foreground of a terminal of its own."""

    def __init__(
        self, *arguments: str | Path, cwd: Path, env: Mapping[str, str], program: Sequence[str] = ()
    ) -> None:
        self.shown = ""
        self._keyboard, terminal = pty.openpty()
        # Held open: what the program has shown stays readable, and the settings too.
        self._terminal = terminal
        self.settings: list[Any] = termios.tcgetattr(terminal)

        def take_terminal() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            [*(program or GDBSTUB), *arguments],
            cwd=cwd,
            env=env,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            preexec_fn=take_terminal,
        )

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until *pattern* is shown."""
        while (found := re.search(pattern, self.shown)) is None:
            ready, _, _ = select.select([self._keyboard], [], [], HANGS)
            assert ready, f"{pattern!r} is not shown, but:\n{self.shown}"
            self.shown += os.read(self._keyboard, 4096).decode("utf-8", "replace")
        return found

    def type(self, keys: str) -> None:
        os.write(self._keyboard, keys.encode())

    def end(self) -> tuple[int, str]:
        """Wait for the program's end: its exit status, and what was shown from now on."""
        seen = len(self.shown)
        # While it ends it may show more than a terminal holds.
        while self.process.poll() is None:
            if select.select([self._keyboard], [], [], 0.1)[0]:
                self.shown += os.read(self._keyboard, 4096).decode("utf-8", "replace")
        while select.select([self._keyboard], [], [], 0)[0]:
            self.shown += os.read(self._keyboard, 4096).decode("utf-8", "replace")
        return self.process.returncode, self.shown[seen:]

    def settings_now(self) -> list[Any]:
        return termios.tcgetattr(self._terminal)

    def hang_up(self) -> None:
        """Take the terminal away, as when its window is closed."""
        os.close(self._keyboard)
        os.close(self._terminal)
        self._keyboard = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self._keyboard >= 0:
            os.close(self._keyboard)
            os.close(self._terminal)
