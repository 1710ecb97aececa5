"""Text of a stream as it comes, kept as far as it is bounded, and a wait for a pattern in it.

A thread reads, so that a guest never waits for a test.
"""

import codecs
import io
import os
import re
import threading
import time
from typing import IO, Final

#: Lines of the text's end that a message shows.
_SHOWN: Final = 20
#: Characters that are kept.
MOST: Final = 16 << 20


class Console:
    """Text of *stream*; line ends are ``\\n`` whatever the guest sends."""

    def __init__(
        self, stream: IO[bytes], name: str, timeout: float, keyboard: int | None = None
    ) -> None:
        """Read *stream* to its end; *keyboard* is the descriptor that typed text goes to."""
        self._stream = stream
        self._name = name
        self._timeout = timeout
        self._keyboard = keyboard
        self._text = ""
        self._position = 0
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, name=name, daemon=True)
        self._thread.start()

    @property
    def text(self) -> str:
        """All text so far; of very much the end, which ``MOST`` bounds."""
        with self._changed:
            return self._text

    def end(self, lines: int = _SHOWN) -> str:
        """Return the last *lines* of the text."""
        return "\n".join(self.text.splitlines()[-lines:])

    def expect(self, pattern: str | re.Pattern[str], timeout: float | None = None) -> re.Match[str]:
        """Wait until *pattern* matches text after the last match; return the match.

        It is tried each time that text comes: end it by ``\\n`` to wait for a whole line.

        Raises:
            AssertionError: it does not match within *timeout* seconds, or before the text ends.
        """
        __tracebackhide__ = True
        seconds = self._timeout if timeout is None else timeout
        deadline = time.monotonic() + seconds
        wanted = re.compile(pattern)
        with self._changed:
            while (found := wanted.search(self._text, self._position)) is None:
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    break
                self._changed.wait(left)
            else:
                self._position = found.end()
                return found
            ended = self._ended
        why = "before its end" if ended else f"within {seconds:g} s"
        raise AssertionError(
            f"the {self._name} has no match for {wanted.pattern!r} {why}; its last lines:\n"
            f"{self.end() or '(it is empty)'}"
        )

    def send(self, text: str) -> None:
        """Type *text*; a line needs its ``\\n``."""
        if self._keyboard is None:
            raise AssertionError(f"nothing can be typed: the {self._name} has no keyboard")
        data = text.encode()
        while data:
            data = data[os.write(self._keyboard, data) :]

    def close(self) -> None:
        """Wait for the end of the stream, whose writer has ended, and close it."""
        self._thread.join()
        self._stream.close()

    def _read(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        lines = io.IncrementalNewlineDecoder(decoder, translate=True)
        while data := os.read(self._stream.fileno(), 1 << 16):
            self._add(lines.decode(data))
        self._add(lines.decode(b"", final=True), ended=True)

    def _add(self, text: str, *, ended: bool = False) -> None:
        with self._changed:
            self._text += text
            if (more := len(self._text) - MOST) > 0:  # a guest may print for ever
                more += MOST // 2
                self._text = self._text[more:]
                self._position = max(self._position - more, 0)
            self._ended = ended
            self._changed.notify_all()
