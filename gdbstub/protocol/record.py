"""Packet log: a line for each packet, ``<-`` from the client and ``->`` to it.

It has the payloads of packets without their framing: no checksums, escapes undone.
"""

import logging
from collections.abc import Callable
from typing import Final, TextIO

from gdbstub import rsp

_log = logging.getLogger(__name__)
# The name that users ask for to see packets.
_packets = logging.getLogger("gdbstub.protocol.session")

_PRINTABLE: Final = {code: f"\\x{code:02x}" for code in range(256) if not 0x20 <= code < 0x7F} | {
    ord("\\"): r"\\"
}


def printable(data: bytes) -> str:
    r"""Write *data* as one line: ``\xNN`` for bytes that do not print, ``\\`` for a backslash."""
    return data.decode("latin-1").translate(_PRINTABLE)


class Recorder:
    """Writer of the packet log to a text file, line by line; an error ends the log only."""

    def __init__(self, file: TextIO) -> None:
        """Write to *file*. The caller closes it."""
        self._file: TextIO | None = file

    def received(self, text: str) -> None:
        """Log *text* as sent by the client."""
        self._write(f"<- {text}")

    def sent(self, text: str) -> None:
        """Log *text* as sent to the client."""
        self._write(f"-> {text}")

    def note(self, text: str) -> None:
        """Log a comment, as a line that begins with ``#``."""
        self._write(f"# {printable(text.encode())}")

    def _write(self, line: str) -> None:
        if self._file is None:
            return
        try:
            self._file.write(line + "\n")
            self._file.flush()
        except (OSError, ValueError) as error:
            _log.warning("packets are no longer recorded: %s", error)
            self._file = None


class LoggedConnection(rsp.Connection):
    """Connection whose packets are logged: to a recorder, if any, and to ``logging`` at DEBUG."""

    def __init__(self, encode: Callable[[bytes], bytes], recorder: Recorder | None) -> None:
        """Begin as ``rsp.Connection`` does."""
        super().__init__(encode)
        self._recorder = recorder

    def answer(self, event: rsp.Event) -> bytes:
        """Log *event* and the answer to it, which is as ``rsp.Connection`` says."""
        text = f"${printable(event.data)}" if isinstance(event, rsp.Packet) else event.value
        if self._recorder:
            self._recorder.received(text)
        if _packets.isEnabledFor(logging.DEBUG):
            _packets.debug("<- %s", text)
        answer = super().answer(event)
        if answer and self._recorder:
            self._recorder.sent(printable(answer))
        return answer

    def send(self, payload: bytes) -> bytes:
        """Frame a reply and log it."""
        if self._recorder:
            self._recorder.sent(f"${printable(payload)}")
        if _packets.isEnabledFor(logging.DEBUG):
            _packets.debug("-> $%s", printable(payload))
        return super().send(payload)


def new_connection(encode: Callable[[bytes], bytes], recorder: Recorder | None) -> rsp.Connection:
    """Make a connection, which is logged if there is a log for it now."""
    if recorder is None and not _packets.isEnabledFor(logging.DEBUG):
        return rsp.Connection(encode)
    return LoggedConnection(encode, recorder)
