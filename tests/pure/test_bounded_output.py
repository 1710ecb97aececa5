"""However much a client sends at once, a session returns a bounded number of bytes for it."""

import itertools
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub import rsp
from gdbstub.protocol import incoming
from gdbstub.protocol.incoming import TURN_BYTES
from gdbstub.protocol.session import Session
from tests.pure.fake_target import FakeTarget

NO_ACKS = rsp.encode(b"QStartNoAckMode")
READ = rsp.encode(b"m40000000,1000")
REPLY = len(rsp.encode(b"00" * 0x1000))


def begin(*, acks: bool = False, lively: bool = True) -> Session:
    session = Session(FakeTarget(lively=lively))
    if not acks:
        session.receive(NO_ACKS)
    return session


def replies(data: bytes) -> list[rsp.Event]:
    return [e for e in rsp.Connection().receive(data) if isinstance(e, rsp.Packet)]


def rest(session: Session) -> list[bytes]:
    """Return the output turn by turn, as a client takes the bytes before."""
    turns = []
    while session.busy:
        turns.append(session.advance())
    return turns


@pytest.mark.parametrize(
    "wire",
    [
        READ * 20_000,
        READ + b"+" * 50_000 + READ * 1000,
        rsp.encode(b"qCRC:40000000,1000") + READ * 1000,
        rsp.encode(b"qSearch:memory:40000000;1000;needle") * 400 + READ * 600,
        rsp.encode(b"vMustReplyEmpty") * 1000 + READ * 1000,
    ],
)
def test_a_flood_of_packets(wire: bytes) -> None:
    session = begin()
    turns = [session.receive(wire), *rest(session)]
    asked = len(replies(b"+" + wire))
    assert len(replies(b"+" + b"".join(turns))) == asked
    assert max(map(len, turns)) < TURN_BYTES + 2 * REPLY


@pytest.mark.parametrize("flood", [b"+", b"\x03", b"$#01", b"+-", rsp.encode(b"?"), READ])
@pytest.mark.parametrize("acks", [True, False])
def test_a_flood_that_takes_long_is_handled_in_turns(
    flood: bytes, acks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock moves on whenever it is looked at."""
    clock = itertools.count()
    monkeypatch.setattr(incoming, "perf_counter", lambda: next(clock) * incoming.TURN_SECONDS / 4)
    session = begin(acks=acks)
    turns = [session.receive(flood * 50 + rsp.encode(b"qC")), *rest(session)]
    assert len(turns) >= 50 // 6
    assert replies(b"".join(turns))[-1] == rsp.Packet(b"QC1")


@pytest.mark.parametrize("noise", [b"-", b"-+", b"-\r", b"-$g#00"])
def test_a_flood_of_naks(noise: bytes) -> None:
    session = begin(acks=True)
    session.receive(READ)
    turns = [session.receive(noise * 8_000), *rest(session)]
    assert max(map(len, turns)) < TURN_BYTES + 2 * REPLY


def test_a_run_of_naks_is_one() -> None:
    session = begin(acks=True)
    said = session.receive(READ)
    assert session.receive(b"-" * 16_000) == said[1:]
    assert not session.busy
    assert session.receive(b"-") == said[1:]  # that frame has not arrived well either


def test_bytes_that_arrive_meanwhile_wait() -> None:
    session = begin()
    session.receive(READ * 1000)
    assert session.busy
    assert session.receive(rsp.encode(b"qC")) == b""
    assert replies(b"+" + b"".join(rest(session)))[-1] == rsp.Packet(b"QC1")


PACKETS = st.sampled_from(
    [
        *(
            READ,
            rsp.encode(b"qC"),
            rsp.encode(b"g"),
            b"$qC#00",
            b"-",
            b"+",
            b"\x03",
            b"\r\n",
            b"$m0",
        ),
        *(rsp.encode(b"qCRC:40000000,1000"), rsp.encode(b"X40000000,4:}#$*")),
        *(rsp.encode(b"Hg2"), rsp.encode(b"zz"), b"$" + b"a" * (rsp.PACKET_SIZE + 5) + b"#00"),
    ]
)


@given(
    st.lists(PACKETS, max_size=20).map(b"".join),
    st.lists(st.integers(0, 1 << 20), max_size=6),
    st.booleans(),
)
def test_the_replies_do_not_depend_on_where_bytes_are_cut(
    wire: bytes, places: list[int], acks: bool
) -> None:
    wire = b"+" + wire.replace(b"-", b"" if acks else b"-")  # the server answers a run of them once
    at = [0, *sorted(place % (len(wire) + 1) for place in places), len(wire)]
    whole, parts = begin(acks=acks), begin(acks=acks)
    out = whole.receive(wire) + b"".join(rest(whole))
    pieces = b""
    for start, end in pairwise(at):
        pieces += parts.receive(wire[start:end])
    assert pieces + b"".join(rest(parts)) == out
