"""The server against clients that are gone, flood it, or are no debuggers; over real sockets."""

import asyncio
import resource
import socket
import threading
from pathlib import Path

import pytest

from gdbstub import rsp
from gdbstub.cli.serving.serve import LoopFailures
from gdbstub.protocol.endpoint import Unix
from gdbstub.protocol.incoming import TURN_BYTES
from gdbstub.protocol.server import Server, client_protocol
from gdbstub.protocol.server.liveness import unheard_seconds
from gdbstub.target import Signal, Stopped
from tests.pure.fake_target import FakeTarget
from tests.pure.test_server import (
    ANYWHERE,
    _transports,
    all_peers_leave,
    called,
    connect,
    serving,
    stop_wait_timeout,
    until,
    until_free,
)

__all__ = ["all_peers_leave", "stop_wait_timeout"]  # fixtures

WRITE = rsp.encode(b"M40000000,4:deadbeef")
HEADERS = b"Host: localhost:1234\r\nOrigin: http://localhost:1234\r\nContent-Length: 30\r\n\r\n"


@pytest.mark.parametrize("local", [False, True], ids=["tcp", "unix"])
@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n" + HEADERS + WRITE,
        b"POST / HTTP/1.1\r\n" + HEADERS + WRITE,
        b"POST / HTTP/1.1\r\nHost: rebound.example\r\n\r\n" + WRITE,
        b"POST / HTTP/1.1\r\n\r\n" + WRITE,
        b"OPTIONS / HTTP/1.1\r\n" + HEADERS + WRITE,
        b"\r\n" + WRITE,
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + WRITE,
        b"\x00\x01\x00\x00!\x12\xa4B" + WRITE,
        b"SSH-2.0-OpenSSH\r\n" + WRITE,
        b"+\r\nPOST / HTTP/1.1\r\n" + HEADERS + WRITE,
        b"+POST / HTTP/1.1\r\n" + HEADERS + WRITE,
        b"-$POST / HTTP/1.1\r\n" + HEADERS + WRITE,
        b"\x03\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + WRITE,
    ],
)
@pytest.mark.parametrize("cut", [1, 1000])
async def test_what_a_browser_sends_reaches_nothing(
    said: bytes, cut: int, local: bool, tmp_path: Path
) -> None:
    target = FakeTarget(lively=False, running=True)
    async with serving(target, Unix(str(tmp_path / "s")) if local else ANYWHERE) as server:
        peer = await connect(server)
        for at in range(0, len(said), cut):
            peer.writer.write(said[at : at + cut])
            await asyncio.sleep(0)
        assert await peer.ended() == b""
        assert target.calls == []
        assert target.memory[:4] == b"\x1f\x20\x03\xd5"
        assert target.running


@pytest.mark.parametrize(
    "method",
    [
        *(b"$k#6b", b"+$k#6b", b"$c#63", b"$D#44", b"$g#67$k#6b", b"$qC#b4+$k#6b", b"-$R00#b2"),
        b"+" * 1000 + b"$k#6b",
        b"+" * 65_535 + b"$k#6b",
        b"$g#67" + b"+" * 70_000 + b"$k#6b",
        rsp.encode(b"G" + b"0" * 600),
        rsp.encode(b"G" + b"0" * 6000),
    ],
    ids=lambda method: f"{method[:12].decode()}-{len(method)}",
)
async def test_a_request_whose_method_is_a_packet_reaches_nothing(method: bytes) -> None:
    """Another page's method is asked about first; not so that of a page of a rebound name.

    ``fetch(url, {method: "$k#6b"})``: a method is a token (RFC 9110, 5.6.2), and has no blank.
    """
    target = FakeTarget(lively=False, running=True)
    async with serving(target) as server:
        peer = await connect(server)
        peer.writer.write(method + b" / HTTP/1.1\r\n" + HEADERS)
        assert await peer.ended() == b""
        assert target.calls == []
        assert target.running


@pytest.mark.parametrize("method", [b"$k#6b", b"$k#6b$", b"+$c#63$", b"$D#44+$"])
@pytest.mark.parametrize(
    "target_of_request",
    [b"/$", b"/" + b"a" * 300_000, b"/$" + b"a" * 300_000, b"/?" + b"+" * 300_000],
    ids=["dollar", "long", "dollar-long", "plus-long"],
)
async def test_a_request_whose_path_hides_the_rest_reaches_nothing(
    method: bytes, target_of_request: bytes
) -> None:
    """The rest is within an unfinished frame, or arrives later than the packet."""
    target = FakeTarget(lively=False, running=True)
    async with serving(target) as server:
        peer = await connect(server)
        peer.writer.write(method + b" " + target_of_request + b" HTTP/1.1\r\n" + HEADERS)
        assert await peer.ended() == b""
        assert target.calls == []
        assert target.running


async def test_a_method_that_fills_the_least_segment_reaches_nothing() -> None:
    target = FakeTarget(lively=False, running=True)
    async with serving(target) as server:
        peer = await connect(server)
        peer.writer.write((b"$k#6b" + b"+" * 600)[:536])
        assert await peer.ended() == b""
        assert target.calls == []


async def test_a_request_after_packets_reaches_nothing_more() -> None:
    target = FakeTarget()
    async with serving(target) as server:
        peer = await (await connect(server)).hello()
        peer.writer.write(b"POST / HTTP/1.1\r\n" + HEADERS + WRITE)
        assert await peer.ended() == b""
        assert target.memory[:4] == b"\x1f\x20\x03\xd5"
        await until_free(server)


async def test_binary_data_of_a_client_is_its_own() -> None:
    async with serving(FakeTarget()) as server:
        peer = await (await connect(server)).hello()
        for data in (
            b"GET / HTTP/1.1\r\n",
            b"\r\nPOST / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x02\x00",
        ):
            assert await peer.ask(b"X40000000,%x:" % len(data) + data) == b"OK"
            assert bytes.fromhex((await peer.ask(b"m40000000,%x" % len(data))).decode()) == data


@pytest.mark.parametrize("said", [b"", b"+", b"++--", b"$", b"$qSupp", b"+$m0,4#f"])
async def test_a_client_without_a_packet_holds_no_place(said: bytes) -> None:
    target = FakeTarget(lively=False, running=True)
    async with serving(target) as server:
        silent = await connect(server)
        silent.writer.write(said)
        await silent.writer.drain()
        peer = await connect(server)
        peer.send(b"QStartNoAckMode")
        await called(target, "interrupt")
        target.stop(Stopped(1, Signal.INT))
        assert await peer.reply() == b"OK"
        assert await peer.ask(b"qC") == b"QC1"


async def test_connections_without_a_packet_are_few() -> None:
    async with serving(FakeTarget()) as server:
        silent = [await connect(server) for _ in range(64)]
        first = await (await connect(server)).hello()
        assert await silent[0].ended() == b""
        assert await first.ask(b"qC") == b"QC1"
        assert len(server._waiting) <= 16


async def test_a_first_packet_that_never_ends_is_not_kept() -> None:
    async with serving(FakeTarget()) as server:
        peer = await connect(server)
        for _ in range(80):
            peer.writer.write(b"$" + b"a" * 0x10000)
        assert await peer.ended() == b""
        await until_free(server)


async def test_the_next_client_is_served_when_the_last_one_goes() -> None:
    target = FakeTarget()
    async with serving(target) as server:
        first = await (await connect(server)).hello()
        second, third = await connect(server), await connect(server)
        second.send(b"qC")
        await until(lambda: len(server._waiting) == 2)
        first.writer.transport.abort()
        assert await second.reply() == b"QC1"
        third.send(b"qSupported")
        assert (await third.ended()).startswith(b"+$E.one client is served at a time: 127.0.0.1:")


async def test_a_client_that_ends_without_reading_holds_no_place() -> None:
    async with serving(FakeTarget()) as server:
        peer = await (await connect(server)).hello()
        peer.writer.write(rsp.encode(b"m40000000,1000") * 4_000)
        (transport,) = _transports(server)
        await until(lambda: not transport.is_reading())
        peer.writer.write_eof()
        await until_free(server)


async def test_a_flood_of_packets_waits_outside(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(FakeTarget()) as server:
        peer = await (await connect(server)).hello()
        (transport,) = _transports(server)
        ask = rsp.encode(b"m40000000,1000")
        peer.writer.write(ask * 4_000)
        most = 0
        for _ in range(200):
            await asyncio.sleep(0)
            most = max(most, transport.get_write_buffer_size())
        assert most < 4 * TURN_BYTES
        for _ in range(4_000):
            assert len(await peer.reply()) == 0x2000
        assert await peer.ask(b"qC") == b"QC1"


async def test_a_dead_client_is_noticed_in_seconds() -> None:
    async with serving(FakeTarget()) as server:
        await (await connect(server)).hello()
        (transport,) = _transports(server)
        own = transport.get_extra_info("socket")
        assert own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle, interval, count = (
            own.getsockopt(socket.IPPROTO_TCP, each)
            for each in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert idle + interval * count <= 12


async def test_a_client_whose_machine_is_gone_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """TCP would send unacknowledged data again for a quarter of an hour."""
    async with serving(FakeTarget()) as server:
        first = await (await connect(server)).hello()
        monkeypatch.setattr("gdbstub.protocol.server.liveness.unheard_seconds", lambda _: 12.0)
        second = await (await connect(server)).hello()
        assert await second.ask(b"qC") == b"QC1"
        assert await first.ended() == b""


async def test_a_live_client_is_heard() -> None:
    async with serving(FakeTarget()) as server:
        await (await connect(server)).hello()
        (transport,) = _transports(server)
        assert unheard_seconds(transport.get_extra_info("socket")) == 0


async def test_a_server_closes_whom_it_does_not_serve() -> None:
    server = Server(FakeTarget(), "localhost:0")
    await server.start()
    first = await (await connect(server)).hello()
    second = await connect(server)
    second.send(b"qC")
    await until(lambda: len(server._waiting) == 1)
    await asyncio.wait_for(server.close(), 10)
    assert await first.ended() == await second.ended() == b""


async def test_a_stop_that_was_told_before_the_end_is_not_asked_about_after_it() -> None:
    target = FakeTarget(lively=False)
    async with serving(target) as server:
        peer = await (await connect(server)).hello()
        peer.send(b"c")
        await until(lambda: target.running)
        stopper = threading.Thread(target=target.stop, args=(Stopped(1),))
        stopper.start()
        stopper.join()  # the loop has not had its turn: the call is due
        asked: list[str] = []
        target.take_report = lambda: asked.append("report")  # type: ignore[method-assign]
        await server.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert asked == []


@pytest.mark.parametrize("local", [False, True], ids=["tcp", "unix"])
async def test_a_client_that_cannot_be_taken_is_one_line_and_waits(
    local: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(LoopFailures().report)
    async with serving(FakeTarget(), Unix(str(tmp_path / "s")) if local else ANYWHERE) as server:
        with socket.socket(socket.AF_UNIX if local else socket.AF_INET) as client:
            _, _, port = server.remote.rpartition(":")
            client.connect(server.remote if local else ("127.0.0.1", int(port)))
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
            try:
                for _ in range(20):
                    await asyncio.sleep(0)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
            assert caplog.messages == ["cannot take a client yet: Too many open files"]
            client.settimeout(20)
            client.sendall(rsp.encode(b"?"))
            assert (await loop.run_in_executor(None, client.recv, 1)) == b"+"


async def test_a_client_waits_on_for_a_target_that_takes_long_to_halt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A target whose core file is being written, for example; GDB waits 2 s for a byte."""
    monkeypatch.setattr(client_protocol, "_KEEP_ALIVE", 0.01)
    target = FakeTarget(lively=False, running=True)
    monkeypatch.setattr(target, "interrupt", lambda: None)
    async with serving(target) as server:
        peer = await connect(server)
        peer.send(b"qC")
        assert await asyncio.wait_for(peer.reader.readexactly(4), 10) == b"++++"
        target.stop(Stopped(1))
        assert await peer.reply() == b"QC1"


async def test_a_client_that_was_turned_away_is_not_served_afterwards() -> None:
    target = FakeTarget(running=True, lively=False)
    async with serving(target) as server:
        first = await connect(server)
        first.writer.write(rsp.encode(b"qSupported"))
        await until(lambda: bool(server.client))
        second = await connect(server)
        second.writer.write(rsp.encode(b"qSupported"))
        await until(lambda: bool(server._waiting) and server._waiting[-1]._has_packet)
        refused, served = server._waiting[-1], server._current
        assert served is not None
        refused._refuse()  # its second is over, and in the same turn of the loop
        target.calls.clear()
        target.running = True  # the other one detaches, and leaves
        server.dismiss(served)
        try:
            assert "interrupt" not in target.calls, "nobody is there to let the guest go on"
            assert server._current is None
        finally:
            served.abort()
            for each in (first, second):
                each.writer.close()


async def test_a_client_that_speaks_late_is_turned_away_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_protocol, "_ADMISSION_TIMEOUT", 0.01)
    async with serving(FakeTarget()) as server:
        late = await connect(server)
        await until(lambda: bool(server._waiting) and server._waiting[0]._timer is None)
        first = await (await connect(server)).hello()
        late.send(b"qSupported:swbreak+")
        said = await late.ended()
        assert said.startswith(b"+$E.one client is served at a time: 127.0.0.1:")
        assert await first.ask(b"qC") == b"QC1"
