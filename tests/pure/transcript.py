"""Plays a conversation in the notation of ``--record`` against a session and a target.

A line that begins with ``<-`` is fed to the session, frame and checksum made here; one
with ``->`` must be what it says next; an indented line goes on with the one before it.
"""

import io
import re
from textwrap import dedent

from gdbstub import rsp
from gdbstub.record import Recorder
from gdbstub.session import Session
from tests.pure.fake_target import FakeTarget


class Stage:
    """A session over a target, without acknowledgements unless asked for."""

    def __init__(self, target: FakeTarget | None = None, *, acks: bool = False) -> None:
        self.target = target or FakeTarget()
        self.log = io.StringIO()
        self.due = False
        self.target.notify = self.notify
        self.session = Session(self.target, Recorder(self.log))
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
        return out

    def send(self, payload: bytes) -> bytes:
        return self.feed(rsp.encode(payload))

    def forget(self) -> None:
        self.log.seek(0)
        self.log.truncate()

    def said(self) -> list[str]:
        """What was recorded since the last time, without the registers of stop replies."""
        lines = self.log.getvalue().splitlines()
        self.forget()
        return [re.sub(r"[0-9a-f]{2}:[0-9a-f]{8,16};", "", line) for line in lines]

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
        assert self.said() == lines


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
