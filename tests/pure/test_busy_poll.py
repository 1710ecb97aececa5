"""Packets that come right after a reply are answered without a turn of the event loop."""

import asyncio
import itertools
import socket
import threading

import pytest

from gdbstub import rsp
from gdbstub.protocol.endpoint import Tcp
from gdbstub.protocol.server import Server, client_protocol
from gdbstub.protocol.server.busy_poll import BusyPoll
from tests.pure.fake_target import HERE, FakeTarget


def test_what_is_there_is_taken_and_the_end_is_nothing() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        transport = Transport()
        burst = BusyPoll(ours.fileno(), transport)
        assert burst.next() == b""
        theirs.sendall(b"$g#67")
        assert burst.next() == b"$g#67"
        assert burst.next() == b""
        theirs.close()
        assert burst.next() == b""
        burst.write(b"$#00")
        assert transport.queued == b"$#00"


def test_what_does_not_fit_is_the_loops_which_then_has_its_turn() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        transport = Transport()
        burst = BusyPoll(ours.fileno(), transport)
        burst.write(b"$OK#9a")
        assert theirs.recv(99) == b"$OK#9a"
        assert transport.queued == b""
        burst.write(bytes(1 << 20))
        queued = transport.queued
        assert queued
        theirs.sendall(b"$g#67")
        assert theirs.recv(1 << 20)  # there is room again, and still the order is kept
        assert burst.next() == b""
        burst.write(b"$OK#9a")
        assert transport.queued == queued + b"$OK#9a"
        transport.queued = b""
        assert burst.next() == b"$g#67"


class Transport(asyncio.WriteTransport):
    """Transport that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.queued = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.queued += data

    def get_write_buffer_size(self) -> int:
        return len(self.queued)


def reply(client: socket.socket, kept: bytearray) -> bytes:
    while (end := kept.find(b"#")) < 0 or len(kept) < end + 3:
        more = client.recv(4096)
        assert more, "the connection has ended"
        kept += more
    frame = bytes(kept[kept.index(b"$") + 1 : end])
    del kept[: end + 3]
    return frame


def converse(port: int, packets: list[bytes], replies: list[bytes]) -> None:
    """A client on a thread of its own, as quick as it can be."""
    kept = bytearray()
    with socket.create_connection(("localhost", port)) as client:
        client.sendall(rsp.encode(b"QStartNoAckMode"))
        assert reply(client, kept) == b"OK"
        for packet in packets:
            client.sendall(rsp.encode(packet))
            replies.append(reply(client, kept))
        # Two at once, one of them in pieces.
        client.sendall(rsp.encode(b"qC") + b"$")
        replies.append(reply(client, kept))
        client.sendall(rsp.encode(b"qC")[1:])
        replies.append(reply(client, kept))


async def test_a_burst_that_takes_long_gives_the_event_loop_its_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The clock moves on by more than a burst may take whenever it is looked at."""
    clock = itertools.count()
    monkeypatch.setattr(client_protocol, "perf_counter", lambda: float(next(clock)))
    received = client_protocol.ClientProtocol.data_received
    turns = 0

    def counted(client: client_protocol.ClientProtocol, data: bytes) -> None:
        nonlocal turns
        turns += 1
        received(client, data)

    monkeypatch.setattr(client_protocol.ClientProtocol, "data_received", counted)
    replies: list[bytes] = []
    packets = [b"qC"] * 40
    async with Server(FakeTarget(), Tcp("localhost", 0), stop_wait_timeout=0.004) as server:
        port = int(server.endpoint.rpartition(":")[2])
        await asyncio.to_thread(converse, port, packets, replies)
    assert len(replies) == len(packets) + 2
    assert turns >= len(packets)


@pytest.mark.parametrize("waits", [0.0, 0.004])
async def test_a_burst_is_answered_as_packets_one_by_one_are(waits: float) -> None:
    target = FakeTarget()
    write = b"M%x,4:00000014" % (0x4000_0000 + 8)
    assert int.from_bytes(bytes.fromhex("00000014"), "little") == HERE
    packets = [b"?", write, b"qC", b"vCont;s:1", b"p20", b"vCont;s:1", b"g"] * 40
    replies: list[bytes] = []
    async with Server(target, Tcp("localhost", 0), stop_wait_timeout=waits) as server:
        port = int(server.endpoint.rpartition(":")[2])
        client = threading.Thread(target=converse, args=(port, packets, replies))
        client.start()
        while client.is_alive():
            await asyncio.to_thread(client.join, 1)
    *one_by_one, first, second = replies
    assert len(one_by_one) == len(packets)
    assert {each[:1] for each in one_by_one[3::7]} == {b"T"}
    assert one_by_one[1::7] == [b"OK"] * 40
    assert first == second == one_by_one[2]
