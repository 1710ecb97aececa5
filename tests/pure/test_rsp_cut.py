"""The same events however a peer's bytes are cut, and however many of them are taken at once."""

from collections.abc import Sequence
from itertools import islice, pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gdbstub import rsp
from gdbstub.rsp import PACKET_SIZE, ControlByte, Packet
from tests.pure.test_rsp import drip, events, frame

#: A frame that is too long, and how it may end or not.
LONG = b"$" + b"a" * (PACKET_SIZE + 8)

PIECES = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        [
            *(LONG, LONG + b"#", LONG + b"#0", b"$", b"#", b"#6", b"$g#67", b"$m0,4#", b"fd"),
            *(b"\x03", b"+", b"-", b"}", b"*", b"*~", b"$g#68", b"0", b"7", b"\r\n"),
            *(b"GET / HTTP/1.1\r\n", b"POST ", b"PO", b"ST ", b"\x16", b"\x16\x03\x01", b"HTTP/"),
            rsp.encode(b"X0,6:GET / HTTP/1.1\r\n$#}*\x03"),
        ]
    ),
)
WIRES = st.lists(PIECES, max_size=12).map(b"".join)


def cut(wire: bytes, places: Sequence[int]) -> list[rsp.Event]:
    at = [0, *sorted(place % (len(wire) + 1) for place in places), len(wire)]
    return events(*(wire[start:end] for start, end in pairwise(at)))


@given(WIRES, st.lists(st.integers(0, 2 * PACKET_SIZE), max_size=8))
@example(LONG + b"#00$g#67", [len(LONG) + 1])
@example(LONG + b"#00$g#67", [len(LONG) + 1, len(LONG) + 5])
@example(LONG + b"$m0,4#fd$g#67", [len(LONG), len(LONG) + 4])
def test_the_events_do_not_depend_on_where_bytes_are_cut(wire: bytes, places: list[int]) -> None:
    assert cut(b"+" + wire, places) == events(b"+" + wire)


@given(WIRES, st.lists(st.integers(1, 3)))
def test_the_events_do_not_depend_on_how_many_are_taken(wire: bytes, takes: list[int]) -> None:
    connection = rsp.Connection()
    taken = list(islice(connection.receive(b"+" + wire), 1))
    for take in takes:
        taken += islice(connection.receive(b""), take)
    assert taken + list(connection.receive(b"")) == events(b"+" + wire)


def test_a_long_frame_costs_only_itself_wherever_it_is_cut() -> None:
    wire = LONG + b"#00" + frame(b"m0,4") + frame(b"g")
    expected = [ControlByte.OVERSIZED, Packet(b"m0,4"), Packet(b"g")]
    for place in range(len(LONG) - 6, len(wire)):
        for second in range(place, len(wire)):
            assert cut(wire, [place, second]) == expected


REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: localhost:1234\r\n\r\n",
    b"POST / HTTP/1.1\r\nOrigin: http://localhost:1234\r\n\r\n" + frame(b"M40000000,4:00000000"),
    b"OPTIONS * HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]


@pytest.mark.parametrize("feed", [events, drip])
@pytest.mark.parametrize(
    "before",
    [b"", b"\n", b"\xff\xf3", b"+", b"-", b"\x03", b"+\r\n", b"$g#67", b"$g#67\n", b"$x\r\n$g#67"],
)
@pytest.mark.parametrize("request_", REQUESTS)
def test_another_protocol_later(feed: object, before: bytes, request_: bytes) -> None:
    assert callable(feed)
    said = feed(before + request_ + frame(b"g"))
    assert said == [*events(before), ControlByte.FOREIGN]


@pytest.mark.parametrize("feed", [events, drip])
@pytest.mark.parametrize(
    "start",
    [
        b"$POST / HTTP/1.1\r\n\r\n",
        b"$\r\nPOST / HTTP/1.1\r\nA: #00\r\n\r\n",
        LONG + b"\r\nPOST / HTTP/1.1\r\n\r\n",
        b"$POST / HTTP/1.1\r\n\r\n" + LONG[1:],
        b"$" + b"a" * (PACKET_SIZE - 2) + b"POST / HTTP/1.1\r\n" + LONG[1:],
    ],
)
def test_another_protocol_in_a_frame_that_does_not_end_well(feed: object, start: bytes) -> None:
    assert callable(feed)
    assert feed(start + frame(b"g"))[-1] is ControlByte.FOREIGN


@given(st.binary(max_size=300), st.sampled_from(REQUESTS), st.binary(max_size=300))
def test_binary_data_is_no_other_protocol(before: bytes, request_: bytes, after: bytes) -> None:
    payload = b"X40000000,400:" + before + request_ + after
    wire = rsp.encode(payload)
    assert drip(wire) == events(wire) == [Packet(payload)]
    assert events(wire, b"+", wire, b"\x03", wire)[-1] == Packet(payload)
