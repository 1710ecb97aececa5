"""Packets that ask much of a debugger, and the limits that keep turns of the event loop short."""

import json
from collections.abc import Iterator

import pytest

from gdbstub import rsp
from gdbstub.debug.debugger import Debugger
from gdbstub.protocol.session import Session
from tests.fakes.machine import fake_machine

_PLACE = 0x4000_0000


def _breakpoints(count: int, first: int = 0) -> Iterator[bytes]:
    return (b"0,%x,4" % (_PLACE + 4 * n) for n in range(first, first + count))


@pytest.fixture
def session() -> Iterator[Session]:
    """A session with a debugger whose guest goes round."""
    machine = fake_machine(bytes.fromhex("00000014"))
    session = Session(Debugger(machine))
    session.receive(rsp.encode(b"QStartNoAckMode") + rsp.encode(b"qSupported:error-message+"))
    yield session
    session.close()
    machine.close()


def test_breakpoints_are_as_many_as_a_resume_can_place(session: Session) -> None:
    for each in _breakpoints(2048):
        assert session.receive(rsp.encode(b"Z" + each)) == b"$OK#9a"
    more = rsp.encode(b"Z0,%x,4" % (_PLACE + 0x8000))
    assert b"there are 2048 software breakpoints" in session.receive(more)
    for each in _breakpoints(2048):  # as GDB does at each stop
        assert session.receive(rsp.encode(b"z" + each)) == b"$OK#9a"
    for each in _breakpoints(2048):
        assert session.receive(rsp.encode(b"Z" + each)) == b"$OK#9a"


def test_many_breakpoints_of_one_packet_take_many_turns(session: Session) -> None:
    asked = [f"Z{each.decode()}" for each in _breakpoints(2048)]
    text = json.dumps({"breakpoint_requests": asked}).encode()
    replied = session.receive(rsp.encode(b"jMultiBreakpoint:" + text))
    turns = 0
    while session.busy:
        replied += session.advance()
        turns += 1
    assert turns > 10
    assert replied.count(b'"OK"') == 2048


def test_many_reads_of_one_packet_take_many_turns(session: Session) -> None:
    replied = session.receive(rsp.encode(b"MultiMemRead:ranges:" + b"10,1," * 5000 + b";"))
    turns = 0
    while session.busy:
        replied += session.advance()
        turns += 1
    assert turns > 10
    assert replied.count(b"0,") == 4999
