import re
import time
from collections.abc import Iterable
from itertools import groupby

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gdbstub import rsp
from gdbstub.rsp import PACKET_SIZE, ControlByte, Packet


def frame(body: bytes) -> bytes:
    """A frame of *body* as it is, with no escapes made."""
    return b"$%b#%02x" % (body, sum(body) % 256)


def events(*chunks: bytes) -> list[rsp.Event]:
    connection = rsp.Connection()
    return [event for chunk in chunks for event in connection.receive(chunk)]


def drip(wire: bytes) -> list[rsp.Event]:
    return events(*(wire[at : at + 1] for at in range(len(wire))))


def runs(body: bytes) -> bytes:
    """Run-length encode, as a client might."""
    out = b""
    for code, group in groupby(body):
        left = len(list(group))
        while left:
            take = min(left, 98)
            encoded = take > 3 and code not in b"*" and chr(take + 28) not in "#$"
            out += bytes((code, 0x2A, take + 28)) if encoded else bytes((code,)) * take
            left -= take
    return out


# A line's noise, and what clients say between packets.
BETWEEN = st.binary().map(lambda noise: noise.replace(b"$", b"").replace(b"\x03", b""))
BODIES = st.lists(st.binary() | st.text("}#$*\x03+-ab", max_size=40).map(str.encode))


@given(BODIES)
def test_frames_round_trip_byte_by_byte(bodies: list[bytes]) -> None:
    wire = b"".join(map(rsp.encode, bodies))
    assert drip(wire) == events(wire) == [Packet(body) for body in bodies]


@given(st.binary(max_size=2000))
def test_a_frame_holds_nothing_that_ends_it(payload: bytes) -> None:
    body = rsp.encode(payload)[1:-3]
    assert not set(body) & set(b"#$*")


@given(st.lists(st.tuples(st.sampled_from([0x23, 0x24, 0x2A, 0x7D, 0x61]), st.integers(1, 300))))
def test_runs_are_expanded(parts: list[tuple[int, int]]) -> None:
    payload = b"".join(bytes((code,)) * count for code, count in parts)
    escaped = rsp.encode(payload)[1:-3]
    assert events(frame(runs(escaped))) == [Packet(payload)]


@pytest.mark.parametrize(
    ("body", "payload"),
    [
        (b"0* ", b"0000"),  # the manual's example
        (b"0*~", b"0" * 98),
        (b"0*~*~1", b"0" * 195 + b"1"),  # a run goes on
        (b"ab* *!", b"a" + b"b" * 8),
        (b"0**", b"0" * 14),  # the count itself is '*'
        (b"*", b"*"),
        (b"*0", b"*0"),
        (b"0*", b"0*"),
        (b"0*\x1c", b"0*\x1c"),
        (b"a}", b"a}"),
        (b"}\x03}\x04}]}\n", b"#$}*"),
        (b"X0,1:}]", b"X0,1:}"),
    ],
)
def test_decoding(body: bytes, payload: bytes) -> None:
    assert events(frame(body)) == [Packet(payload)]


def test_a_run_cannot_grow_beyond_a_packet() -> None:
    assert events(frame(b"0" + b"*~" * 60000)) == [ControlByte.OVERSIZED]
    length = (PACKET_SIZE - 1) // 97
    assert events(frame(b"0" + b"*~" * length)) == [Packet(b"0" * (1 + 97 * length))]


@given(st.lists(st.binary() | st.sampled_from([b"$", b"#", b"*", b"}", b"$#00", b"\x03"])))
def test_garbage_never_raises(chunks: list[bytes]) -> None:
    events(*chunks)


@given(BETWEEN, st.binary())
def test_noise_before_a_frame_hides_nothing(noise: bytes, payload: bytes) -> None:
    assert events(noise, rsp.encode(payload))[-1] == Packet(payload)


# What comes of one with HTTP in it: tests/pure/test_rsp_cut.py.
UNFINISHED = (
    st.binary()
    .map(lambda body: body.replace(b"#", b""))
    .filter(lambda body: not re.search(rsp._HTTP, body))
)


@given(UNFINISHED, st.binary())
@example(b"X40000000,2:\x16\x03", b"g")
def test_a_new_frame_ends_an_unfinished_one(start: bytes, payload: bytes) -> None:
    assert drip(b"$" + start + rsp.encode(payload)) == [Packet(payload)]


def test_what_stands_between_frames() -> None:
    wire = b"+$g#67\x03-+" + frame(b"m0,\x03") + b"\x03"
    expected = [
        ControlByte.ACK,
        Packet(b"g"),
        ControlByte.INTERRUPT,
        ControlByte.NAK,
        ControlByte.ACK,
        Packet(b"m0,\x03"),
        ControlByte.INTERRUPT,
    ]
    assert events(wire) == drip(wire) == expected


def test_a_bad_checksum() -> None:
    assert events(b"$g#68$g#zz$g#67$g#6", b"7") == [
        ControlByte.BAD_CHECKSUM,
        ControlByte.BAD_CHECKSUM,
        Packet(b"g"),
        Packet(b"g"),
    ]
    assert events(b"$O#4F") == [Packet(b"O")]


@pytest.mark.parametrize("feed", [events, drip])
def test_the_largest_packet_and_one_beyond(feed: object) -> None:
    assert callable(feed)
    fits, exceeds = b"a" * PACKET_SIZE, b"a" * (PACKET_SIZE + 1)
    wire = frame(fits) + frame(exceeds) + frame(b"g") + frame(exceeds * 2) + frame(b"?")
    assert feed(wire) == [
        Packet(fits),
        ControlByte.OVERSIZED,
        Packet(b"g"),
        ControlByte.OVERSIZED,
        Packet(b"?"),
    ]


def endless(chunk: bytes) -> Iterable[bytes]:
    yield b"$"
    for _ in range(64):
        yield chunk * (PACKET_SIZE // 8 // len(chunk))


@pytest.mark.parametrize("chunk", [b"a", b"$", b"$a", b"}", b"*~", b"+", b"\x00" * 7 + b"$"])
def test_an_endless_packet_takes_no_room(chunk: bytes) -> None:
    connection = rsp.Connection()
    for data in endless(chunk):
        list(connection.receive(data))
        assert len(connection._buffer) <= PACKET_SIZE + 4
    assert list(connection.receive(b"#00$g#67"))[-1] == Packet(b"g")


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        # A new frame is cut behind its '#', as the unfinished one before it is dropped.
        ((b"$aaaaaaaaaaaaaaa1$g#6", b"7"), [Packet(b"g")]),
        ((b"$" + b"a" * 40, b"aaaaaaaaaaaaaaaaa$g#", b"67"), [Packet(b"g")]),
        # A frame that is too long is cut behind its '#'.
        ((b"$" + b"a" * 19 + b"#", b"67$g#67"), [ControlByte.OVERSIZED, Packet(b"g")]),
        ((b"$" + b"a" * 40 + b"#6", b"7$g#67"), [ControlByte.OVERSIZED, Packet(b"g")]),
        ((b"$" + b"a" * 19 + b"#$", b"7$g#67"), [ControlByte.OVERSIZED, Packet(b"g")]),
    ],
)
def test_frames_beyond_the_bound_are_the_same_however_they_are_cut(
    monkeypatch: pytest.MonkeyPatch, pieces: tuple[bytes, ...], expected: list[rsp.Event]
) -> None:
    monkeypatch.setattr(rsp, "PACKET_SIZE", 16)
    wire = b"".join(pieces)
    assert events(*pieces) == events(wire) == drip(wire) == expected


def test_a_slow_packet_takes_linear_time() -> None:
    def seconds(size: int) -> float:
        wire = frame(b"a" * size)
        start = time.perf_counter()
        assert len(drip(wire)) == 1
        return time.perf_counter() - start

    # Four times the bytes: four times as long, where a search from the start takes sixteen.
    assert min(seconds(0x1F000) for _ in range(3)) < 9 * min(seconds(0x7C00) for _ in range(3))


@given(st.binary(max_size=3000))
def test_checksum(body: bytes) -> None:
    assert rsp.checksum(body) == sum(body) % 256


def test_checksum_of_the_highest_bytes() -> None:
    for size in (255, 256, 257, 512, 513, PACKET_SIZE):
        assert rsp.checksum(b"\xff" * size) == 255 * size % 256


def test_acknowledgements() -> None:
    connection = rsp.Connection()
    assert connection.answer(ControlByte.NAK) == b""
    assert connection.send(b"OK") == b"$OK#9a"
    assert connection.answer(Packet(b"g")) == b"+"
    assert connection.answer(ControlByte.OVERSIZED) == b"+"
    assert connection.answer(ControlByte.BAD_CHECKSUM) == b"-"
    assert connection.answer(ControlByte.NAK) == b"$OK#9a"
    assert connection.answer(ControlByte.ACK) == connection.answer(ControlByte.INTERRUPT) == b""
    connection.acks = False
    for event in (
        Packet(b"g"),
        ControlByte.BAD_CHECKSUM,
        ControlByte.NAK,
        ControlByte.ACK,
        ControlByte.OVERSIZED,
    ):
        assert connection.answer(event) == b""
