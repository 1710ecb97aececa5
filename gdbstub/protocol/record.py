"""The conversation log: one line a packet, ``<-`` from the client and ``->`` to it.

It keeps what packets say, not how they were framed: no checksums, escapes undone.
"""

import logging
from typing import Final, TextIO

_log = logging.getLogger(__name__)

_PRINTABLE: Final = {code: f"\\x{code:02x}" for code in range(256) if not 0x20 <= code < 0x7F} | {
    ord("\\"): r"\\"
}


def printable(data: bytes) -> str:
    r"""Spell *data* on one line: ``\xNN`` for what does not print, ``\\`` for a backslash."""
    return data.decode("latin-1").translate(_PRINTABLE)


class Recorder:
    """Writes the log to a text file, each line at once; a full disk ends it quietly."""

    def __init__(self, file: TextIO) -> None:
        """Write to *file*, which the caller closes."""
        self._file: TextIO | None = file

    def received(self, text: str) -> None:
        """Log what the client sent, as one printable line."""
        self._write(f"<- {text}")

    def sent(self, text: str) -> None:
        """Log what the client got, as one printable line."""
        self._write(f"-> {text}")

    def note(self, text: str) -> None:
        """Log a remark, as a line that begins with ``#``."""
        self._write(f"# {printable(text.encode())}")

    def _write(self, line: str) -> None:
        if self._file is None:
            return
        try:
            self._file.write(line + "\n")
            self._file.flush()
        except (OSError, ValueError) as error:
            _log.warning("the conversation is no longer recorded: %s", error)
            self._file = None
