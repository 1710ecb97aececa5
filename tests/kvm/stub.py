"""A stub as a person starts it: ``gdbstub run`` as a process of its own, on real KVM."""

import queue
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Final, Self

from tests.bounds import HANGS

_LISTENING: Final = re.compile(r"gdbstub: listening on localhost:(\d+)")


class Lines:
    """Reads a stream on a thread, so that a test can wait for what it says."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.text = ""
        self._ended = False
        self._stream = stream
        self._notifier: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._stream:
            for line in self._stream:
                self._notifier.put(line.decode("utf-8", "replace"))
        self._notifier.put(None)

    def wait_for(self, pattern: str | re.Pattern[str]) -> re.Match[str]:
        """Wait until *pattern* is in what was said so far."""
        while (found := re.search(pattern, self.text)) is None:
            try:
                line = self._notifier.get(timeout=HANGS)
            except queue.Empty:
                raise AssertionError(f"{pattern!r} is not said; so far:\n{self.text}") from None
            self._ended = line is None
            assert line is not None, f"{pattern!r} was not said, but:\n{self.text}"
            self.text += line
        return found

    def wait_for_news(self) -> None:
        """Forget what was said so far, and wait for the next line."""
        while True:
            try:
                self._notifier.get_nowait()
            except queue.Empty:
                break
        assert self._notifier.get(timeout=HANGS) is not None, "the stream has ended"

    def rest(self) -> str:
        """Wait for the end; all that was said."""
        while not self._ended:
            line = self._notifier.get(timeout=HANGS)
            self._ended = line is None
            self.text += line or ""
        return self.text


class Stub:
    """``gdbstub run ARGUMENTS`` while it is entered; ``console`` is its standard output."""

    def __init__(self, *arguments: str | Path, stdin: int = subprocess.DEVNULL) -> None:
        self._arguments = arguments
        self._stdin = stdin

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gdbstub", "run", "--gdb", "localhost:0", *self._arguments],
            stdin=self._stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.console = Lines(self.process.stdout)
        self.messages = Lines(self.process.stderr)
        try:
            self.port = int(self.messages.wait_for(_LISTENING)[1])
        except BaseException:
            self.process.kill()
            raise
        return self

    @property
    def remote(self) -> str:
        return f"localhost:{self.port}"

    def wait(self) -> int:
        """Wait for its own end; the exit status."""
        return self.process.wait(HANGS)

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(HANGS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        self.console.rest()
        self.messages.rest()
