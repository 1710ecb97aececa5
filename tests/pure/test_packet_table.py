"""The table of packets as a whole: names, arguments, errors, and hostile bytes."""

import logging
from collections.abc import Generator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub import rsp
from gdbstub.errors import StubError
from gdbstub.protocol import packets
from gdbstub.protocol.packets.registry import MANUALS, PACKETS, find, packet
from gdbstub.protocol.packets.template import PacketTemplate, thread_id
from gdbstub.target import Action, Resume
from tests.pure.fake_target import FakeTarget
from tests.pure.transcript import Stage

C, S = Action.CONTINUE, Action.STEP


def test_errors_are_text_for_whom_they_are_meant() -> None:
    stage = Stage()
    stage.send(b"qSupported:error-message+")
    stage.forget()
    stage.play(
        """
        <- $m0,4
        -> $E.nothing at 0x0
        <- $Hg9
        -> $E.there is no thread 9
        <- $mxyz
        -> $E.malformed m packet
        <- $qSupported
        -> $PacketSize=20000;…
        <- $m0,4
        -> $E0e
        """
    )


def test_the_features_of_packets_are_announced() -> None:
    announced = Stage().send(b"qSupported").split(b"#")[0].removeprefix(b"$").split(b";")
    assert len(announced) == len(set(announced))
    for row in PACKETS.values():
        expected = row.needs is None or row.needs(FakeTarget()) is not None
        assert not row.feature or (row.feature in announced) == expected, row.name


def test_the_table() -> None:
    for name, row in PACKETS.items():
        assert find(name) is row
        assert any(manual in (row.handler.__doc__ or "") for manual in MANUALS)
    with pytest.raises(ValueError, match="two handlers"):
        packet("m")(packets.registers.read_all)
    with pytest.raises(ValueError, match="does not cite"):
        packet("qNew")(lambda client: b"")
    with pytest.raises(KeyError):
        PacketTemplate("adress")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        *(("-1", -1), ("0", 0), ("1f", 31), ("0001", 1), ("p1.2", 2), ("p0.0", 0)),
        *(("p1.-1", -1), ("p-1.-1", -1), ("p-1", -1), ("p5", -1)),
    ],
)
def test_thread_ids(text: str, meant: int) -> None:
    assert thread_id(text.encode()) == meant


HOSTILE = st.one_of(
    st.binary(max_size=40),
    st.from_regex(rb"\A[0-9a-fp.,:;=cCsStX-]{0,40}\Z"),
    st.lists(st.sampled_from([b"0", b"40000000", b"f" * 17, b",", b":", b";", b"=", b"-1"])).map(
        b"".join
    ),
)


@given(st.sampled_from(sorted(PACKETS)), HOSTILE)
def test_hostile_packets_raise_nothing_unmeant(name: bytes, arguments: bytes) -> None:
    client = packets.ClientState(FakeTarget(), rsp.PACKET_SIZE)
    try:
        reply = packets.dispatch(client, name + arguments)
        if isinstance(reply, Generator):
            for sent_ahead in reply:
                assert sent_ahead is None or isinstance(sent_ahead, bytes)
            return
    except StubError:
        return
    assert reply is None or isinstance(reply, bytes | Resume)


def test_a_bug_is_logged_and_the_session_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    stage.target.trouble = ZeroDivisionError("a bug")
    with caplog.at_level(logging.ERROR):
        stage.play("<- $m40000000,4\n-> $E05\n<- $m40000000,4\n-> $1f2003d5")
    assert "a bug" in caplog.text
