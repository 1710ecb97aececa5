"""The conversation log: one line a packet, ``<-`` from the client and ``->`` to it.

It keeps what packets say, not how they were framed: no checksums, escapes undone.
"""

import logging
from typing import Final, TextIO

from gdbstub import rsp

log = logging.getLogger(__name__)

_PRINTABLE: Final = {code: f"\\x{code:02x}" for code in range(256) if not 0x20 <= code < 0x7F} | {
    ord("\\"): r"\\"
}

_NAMES: Final[dict[type[rsp.Event], str]] = {
    rsp.Ack: "+",
    rsp.Nak: "-",
    rsp.Interrupt: "^C",
    rsp.BadChecksum: "(bad checksum)",
    rsp.Oversized: "(too long)",
}


def printable(data: bytes) -> str:
    r"""Spell *data* on one line: ``\xNN`` for what does not print, ``\\`` for a backslash."""
    return data.decode("latin-1").translate(_PRINTABLE)


def describe(event: rsp.Event) -> str:
    """Spell what a client sent."""
    return f"${printable(event.data)}" if isinstance(event, rsp.Packet) else _NAMES[type(event)]


class Recorder:
    """Writes the log to a text file, each line at once; a full disk ends it quietly."""

    def __init__(self, file: TextIO) -> None:
        """Write to *file*, which the caller closes."""
        self._file: TextIO | None = file

    def received(self, event: rsp.Event) -> None:
        """Log what the client sent."""
        self._write(f"<- {describe(event)}")

    def sent(self, payload: bytes) -> None:
        """Log a packet that the client got."""
        self._write(f"-> ${printable(payload)}")

    def answered(self, text: bytes) -> None:
        """Log what the client got outside a packet, or again: ``+``, ``-``, or a whole frame."""
        self._write(f"-> {printable(text)}")

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
            log.warning("the conversation is no longer recorded: %s", error)
            self._file = None
