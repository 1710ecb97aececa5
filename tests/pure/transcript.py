"""Plays a conversation in the notation of ``--record`` against a session and a target.

A line that begins with ``<-`` is fed to the session, frame and checksum made here; one
with ``->`` must be what it says next; an indented line goes on with the one before it.
In those, ``…`` stands for anything.
"""

import io
import re
from itertools import zip_longest
from textwrap import dedent

from gdbstub import rsp
from gdbstub.protocol.record import Recorder
from gdbstub.protocol.session import Session
from tests.pure.fake_target import FakeTarget


class Stage:
    """A session over a target, without acknowledgements unless asked for."""

    def __init__(
        self,
        target: FakeTarget | None = None,
        *,
        acks: bool = False,
        kill_on_disconnect: bool = False,
    ) -> None:
        self.target = target or FakeTarget()
        self.log = io.StringIO()
        self.due = False
        self.target.notify = self.notify
        self.session = Session(
            self.target, Recorder(self.log), kill_on_disconnect=kill_on_disconnect
        )
        if not acks:
            self.send(b"QStartNoAckMode")
            self.forget()

    def notify(self) -> None:
        self.due = True

    def feed(self, data: bytes) -> bytes:
        """Hand over *data* and do what the server would; return what is sent."""
        out = self.session.receive(data)
        while self.due:
            self.due = False
            out += self.session.target_stopped()
        while self.session.busy:
            out += self.session.advance()
        return out

    def send(self, payload: bytes) -> bytes:
        return self.feed(rsp.encode(payload))

    def forget(self) -> None:
        self.log.seek(0)
        self.log.truncate()

    def said(self) -> list[str]:
        """Return the lines recorded since the last call, without the registers of stop replies."""
        lines = self.log.getvalue().splitlines()
        self.forget()
        return [without_registers(line) for line in lines]

    def play(self, text: str) -> None:
        """Feed each line of the client's; all of *text* must then have been recorded."""
        lines = dedent(text).strip().replace("\n ", "").splitlines()
        for line in lines:
            mark, payload = line[:3], line[3:]
            if mark != "<- ":
                continue
            if payload == "^C":
                self.feed(b"\x03")
            elif payload in "+-":
                self.feed(payload.encode())
            else:
                self.send(_bytes(payload[1:]))
        said = self.said()
        assert said == [_as_said(*pair) for pair in zip_longest(lines, said, fillvalue="")]


def without_registers(line: str) -> str:
    """A recorded line without the registers of a stop reply."""
    line = re.sub(r"[0-9a-f]{2}:[0-9a-f]{8,16};", "", line)
    return re.sub(r'"registers":\{[^}]*\}', '"registers":{}', line)


def _as_said(line: str, said: str) -> str:
    """*said*, if *line* is that; a ``…`` in it stands for anything."""
    pattern = ".*".join(re.escape(part) for part in line.split("…"))
    return said if re.fullmatch(pattern, said) else line


def _bytes(text: str) -> bytes:
    return re.sub(
        rb"\\(?:x([0-9a-f]{2})|\\)",
        lambda match: bytes.fromhex(match[1].decode()) if match[1] else b"\\",
        text.encode("latin-1"),
    )


def conversation(text: str, target: FakeTarget | None = None) -> Stage:
    """Play *text* on a new stage."""
    stage = Stage(target)
    stage.play(text)
    return stage
