"""Memory that is looked through on this side: search, checksum, physical addresses."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub import rsp
from gdbstub.capabilities import Capability, PhysicalMemory
from gdbstub.protocol.packets.search import SLICE
from gdbstub.protocol.session import Session
from tests.pure.fake_target import BASE, FakeTarget
from tests.pure.test_server import connect, serving
from tests.pure.transcript import Stage, conversation

NO_ACKS = rsp.encode(b"QStartNoAckMode")


def with_text(at: int, text: bytes) -> FakeTarget:
    target = FakeTarget()
    target.write_memory(1, BASE + at, text)
    return target


class Endless(FakeTarget):
    """Zeros wherever one looks; a search of it takes for ever."""

    def read_memory(self, thread: int, address: int, length: int) -> bytes:
        assert length <= SLICE
        return bytes(length)


def crc_bit_by_bit(data: bytes) -> int:
    """Compute GDB's CRC-32: polynomial 0x04c11db7, most significant bit first."""
    crc = 0xFFFF_FFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = crc << 1 ^ (0x104C1_1DB7 if crc >> 31 else 0)
    return crc


def test_search() -> None:
    conversation(
        """
        <- $qSearch:memory:40000000;20;needle
        -> $1,40000005
        <- $qSearch:memory:40000000;20;nail
        -> $0
        <- $qSearch:memory:40000006;20;needle
        -> $0
        <- $qSearch:memory:40000005;6;needle
        -> $1,40000005
        <- $qSearch:memory:40000005;5;needle
        -> $0
        <- $qSearch:memory:40000000;20;;}*
        -> $1,4000000b
        <- $qSearch:memory:40000000;ffffffffffffffff;needle
        -> $1,40000005
        <- $qSearch:memory:40000000;0;n
        -> $0
        <- $qSearch:memory:40000000;2000;nail
        -> $E0e
        <- $qSearch:memory:0;20;needle
        -> $E0e
        <- $qSearch:memory:40000000;20;
        -> $E16
        <- $qSearch:memory:40000000
        -> $E16
        """,
        with_text(0, b"some needle;}*"),
    )


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=40).map(bytes),
    st.binary(min_size=1, max_size=4),
    st.integers(1, 7),
)
def test_a_search_finds_what_lies_across_slices(memory: bytes, other: bytes, cut: int) -> None:
    class Pieces(FakeTarget):
        def read_memory(self, thread: int, address: int, length: int) -> bytes:
            return memory[address : address + min(cut, length)]

    stage = Stage(Pieces())
    for pattern in memory[len(memory) // 2 :][:5], other:
        at = memory.find(pattern)
        expected = b"1,%x" % at if at >= 0 else b"0"
        packet = b"qSearch:memory:0;%x;%b" % (len(memory), pattern)
        assert stage.send(packet) == rsp.encode(expected)


def test_checksum() -> None:
    data = bytes(range(256)) * 3
    conversation(
        f"""
        <- $qCRC:40000010,300
        -> $C{crc_bit_by_bit(data):x}
        <- $qCRC:40000010,0
        -> $Cffffffff
        <- $qCRC:40000010,1
        -> $C{crc_bit_by_bit(data[:1]):x}
        <- $qCRC:40000ff0,11
        -> $E0e
        <- $qCRC:0,1
        -> $E0e
        <- $qCRC:40000010
        -> $E16
        """,
        with_text(16, data),
    )


def test_a_checksum_of_many_slices_is_one() -> None:
    stage = Stage(Endless())
    said = stage.send(b"qCRC:0,%x" % (2 * SLICE + 1))
    # The CRC of n zeros, by squaring what one zero does to each bit.
    assert said == rsp.encode(b"C%x" % _crc_of_zeros(2 * SLICE + 1))


def _crc_of_zeros(count: int) -> int:
    crc, step = 0xFFFF_FFFF, [_after_zero(1 << bit) for bit in range(32)]
    while count:
        if count & 1:
            crc = _times(step, crc)
        step = [_times(step, column) for column in step]
        count >>= 1
    return crc


def _after_zero(crc: int) -> int:
    for _ in range(8):
        crc = crc << 1 ^ (0x104C1_1DB7 if crc >> 31 else 0)
    return crc


def _times(matrix: list[int], vector: int) -> int:
    result = 0
    for bit, column in enumerate(matrix):
        if vector >> bit & 1:
            result ^= column
    return result


def test_physical_addresses() -> None:
    target = FakeTarget()
    conversation(
        f"""
        <- $qqemu.Supported
        -> $PhyMemMode
        <- $qqemu.PhyMemMode
        -> $0
        <- $m90000000,4
        -> $E0e
        <- $Qqemu.PhyMemMode:1
        -> $OK
        <- $qqemu.PhyMemMode
        -> $1
        <- $m90000000,4
        -> $1f2003d5
        <- $m40000000,4
        -> $E0e
        <- $X90000000,4:need
        -> $OK
        <- $M90000004,2:6c65
        -> $OK
        <- $x90000000,6
        -> $bneedle
        <- $qSearch:memory:90000000;1000;needle
        -> $1,90000000
        <- $qCRC:90000000,1
        -> $C{crc_bit_by_bit(b"n"):x}
        <- $Z0,40000000,4
        -> $OK
        <- $Qqemu.PhyMemMode:0
        -> $OK
        <- $m40000000,4
        -> $6e656564
        <- $Qqemu.PhyMemMode:
        -> $E16
        <- $Qqemu.PhyMemMode:x
        -> $E16
        """,
        target,
    )
    assert bytes(target.memory[:6]) == b"needle"


# Work that takes long.


def busy() -> Session:
    session = Session(Endless())
    session.receive(NO_ACKS)
    assert session.receive(rsp.encode(b"qSearch:memory:0;ffffffffffffffff;needle")) == b""
    assert session.busy
    return session


def test_work_goes_on_slice_by_slice_and_says_nothing() -> None:
    session = busy()
    assert [session.advance() for _ in range(5)] == [b""] * 5
    assert session.keep_alive() == b"+"


def test_what_is_short_is_answered_at_once() -> None:
    session = Session(FakeTarget())
    said = session.receive(NO_ACKS + rsp.encode(b"qCRC:40000000,4"))
    assert said.endswith(rsp.encode(b"C%x" % crc_bit_by_bit(b"\x1f\x20\x03\xd5")))
    assert not session.busy
    assert session.keep_alive() == session.advance() == b""


def test_packets_wait_for_work_to_end() -> None:
    session = Session(Endless())
    session.receive(NO_ACKS)
    slices = b"qCRC:0,%x" % (2 * SLICE)
    assert session.receive(rsp.encode(slices) + rsp.encode(b"qC") + rsp.encode(slices)) == b""
    assert session.busy
    said = session.advance()
    assert said.startswith(b"$C")
    assert said.endswith(rsp.encode(b"QC1"))
    assert session.busy  # with the second of them


@pytest.mark.parametrize("feature", ["", "error-message+"])
def test_an_interrupt_ends_work(feature: str) -> None:
    session = Session(Endless())
    session.receive(NO_ACKS + rsp.encode(b"qSupported:" + feature.encode()))
    session.receive(rsp.encode(b"qCRC:0,ffffffffffffffff"))
    assert session.receive(b"\x03") == rsp.encode(b"E.interrupted" if feature else b"E04")
    assert not session.busy
    assert session.receive(b"\x03") == b""
    assert session.receive(rsp.encode(b"qC")) == rsp.encode(b"QC1")


def test_an_interrupt_behind_packets_that_wait_ends_those_too() -> None:
    session = busy()
    endless = rsp.encode(b"qCRC:0,ffffffffffffffff")
    said = session.receive(rsp.encode(b"qC") + endless + b"\x03")
    while session.busy:  # on a busy machine a turn ends earlier
        said += session.advance()
    assert said == rsp.encode(b"E04") + rsp.encode(b"QC1") + rsp.encode(b"E04")


def test_a_kill_does_not_wait_for_work() -> None:
    session = busy()
    assert session.receive(rsp.encode(b"vKill;1")) == rsp.encode(b"E04") + rsp.encode(b"OK")
    assert session.over


def test_work_ends_with_its_client() -> None:
    session = busy()
    session.close()
    assert not session.busy
    assert session.advance() == b""


def test_trouble_in_the_middle_of_work_is_an_error() -> None:
    session = busy()
    assert isinstance(session._target, Endless)
    session._target.read_memory = lambda *_: 1 / 0  # type: ignore[method-assign,assignment]
    assert session.advance().startswith(b"$E")
    assert not session.busy


async def test_a_client_is_heard_while_work_goes_on() -> None:
    async with serving(Endless()) as served:
        peer = await connect(served)
        await peer.hello()
        peer.send(b"qSearch:memory:0;ffffffffffffffff;needle")
        peer.writer.write(b"\x03")
        assert await peer.reply() == b"E04"
        assert await peer.ask(b"qC") == b"QC1"
        peer.send(b"qSearch:memory:0;ffffffffffffffff;needle")
        await peer.leave()
        peer = await connect(served)
        await peer.hello()
        await peer.leave()


async def test_a_client_that_waits_hears_that_it_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gdbstub.protocol.server.client_protocol._KEEP_ALIVE", 0.0)
    async with serving(Endless()) as served:
        peer = await connect(served)
        await peer.hello()
        peer.send(b"qCRC:0,%x" % (4 * SLICE))
        said = await asyncio.wait_for(peer.reader.readuntil(b"#"), 10)
        assert said[: said.index(b"$")] == b"++"
        await peer.leave()


async def test_the_end_of_the_server_does_not_wait_for_work() -> None:
    async with serving(Endless()) as served:
        peer = await connect(served)
        await peer.hello()
        peer.send(b"qSearch:memory:0;ffffffffffffffff;needle")
        await peer.writer.drain()


def test_a_target_without_physical_addresses_has_no_mode_for_them() -> None:
    class Virtual(FakeTarget):
        def offers(self, capability: type[Capability]) -> bool:
            return capability is not PhysicalMemory

    conversation(
        """
        <- $qqemu.Supported
        -> $
        <- $Qqemu.PhyMemMode:1
        -> $
        """,
        Virtual(),
    )
