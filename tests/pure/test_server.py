"""The server over real sockets and pipes; nothing here waits for a clock."""

import asyncio
import io
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import cast

import pytest

from gdbstub import rsp
from gdbstub.errors import InputError
from gdbstub.protocol.endpoint import Endpoint, Tcp, Unix, parse_endpoint
from gdbstub.protocol.record import Recorder
from gdbstub.protocol.server import Server
from gdbstub.target import Exited, Report, Signal, Stopped
from tests.pure.fake_target import HERE, FakeTarget

ANYWHERE = Tcp("localhost", 0)


class Peer:
    """A client, without acknowledgements after ``hello``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        PEERS.append(self)

    def send(self, payload: bytes) -> None:
        self.writer.write(rsp.encode(payload))

    async def reply(self) -> bytes:
        frame = await asyncio.wait_for(self.reader.readuntil(b"#"), 10)
        await self.reader.readexactly(2)
        return frame[frame.index(b"$") + 1 : -1]

    async def ask(self, payload: bytes) -> bytes:
        self.send(payload)
        return await self.reply()

    async def hello(self) -> "Peer":
        assert await self.ask(b"QStartNoAckMode") == b"OK"
        return self

    async def ended(self) -> bytes:
        """Return the bytes that still arrive until the connection ends."""
        try:
            return await asyncio.wait_for(self.reader.read(), 10)
        except ConnectionError:
            return b""

    async def leave(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


PEERS: list[Peer] = []

#: The ``stop_wait_timeout`` of every server; a fixture sets it.
STOP_WAIT = {"timeout": 0.0}


@pytest.fixture(autouse=True, params=[0.0, 0.004], ids=["turns", "waits"])
def stop_wait_timeout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test is run with an event loop that waits for stops and packets, too."""
    monkeypatch.setitem(STOP_WAIT, "timeout", request.param)


@pytest.fixture(autouse=True)
async def all_peers_leave() -> AsyncIterator[None]:
    yield
    while PEERS:
        await PEERS.pop().leave()


@asynccontextmanager
async def serving(
    target: FakeTarget,
    endpoint: Endpoint = ANYWHERE,
    recorder: Recorder | None = None,
    *,
    kill_on_disconnect: bool = False,
) -> AsyncIterator[Server]:
    server = Server(
        target,
        endpoint,
        recorder=recorder,
        kill_on_disconnect=kill_on_disconnect,
        stop_wait_timeout=STOP_WAIT["timeout"],
    )
    await server.start()
    try:
        yield server
    finally:
        await asyncio.wait_for(server.close(), 10)


async def connect(server: Server) -> Peer:
    if ":" not in server.remote:
        return Peer(*await asyncio.open_unix_connection(server.remote))
    host, _, port = server.remote.rpartition(":")
    return Peer(*await asyncio.open_connection("127.0.0.1" if host == "localhost" else host, port))


async def until_free(server: Server) -> Peer:
    """Connect as soon as the last client's leaving has been noticed."""
    while True:
        peer = await connect(server)
        try:
            return await peer.hello()
        except (asyncio.IncompleteReadError, ConnectionError):
            await peer.leave()


async def until(condition: Callable[[], bool]) -> None:
    """Let the server work until that holds."""
    while not condition():  # noqa: ASYNC110  (conditions of the fake, which has no events)
        await asyncio.sleep(0)


async def called(target: FakeTarget, call: str) -> None:
    await until(lambda: call in target.calls)


def slow() -> FakeTarget:
    return FakeTarget(lively=False)


async def test_a_conversation_over_tcp() -> None:
    log = io.StringIO()
    async with serving(FakeTarget(), recorder=Recorder(log)) as server:
        assert server.endpoint == server.remote
        assert server.endpoint.startswith("localhost:")
        assert not server.endpoint.endswith(":0")
        peer = await connect(server)
        own = peer.writer.get_extra_info("socket")
        assert await peer.ask(b"qC") == b"QC1"
        assert own is not None
        assert (await peer.ask(b"vCont;s:1")).startswith(b"T05thread:1;")
        await peer.leave()
    assert log.getvalue().startswith("<- $qC\n-> +\n-> $QC1\n<- $vCont;s:1\n")


async def test_both_loopback_addresses_are_one_server() -> None:
    async with serving(slow()) as server:
        port = int(server.remote.rpartition(":")[2])
        try:
            socket.create_connection(("::1", port)).close()
        except OSError:
            pytest.skip("this host has no ::1")
        await until_free(server)


async def test_replies_are_not_held_back() -> None:
    nodelay: list[int] = []

    async with serving(FakeTarget()) as server:
        peer = await (await connect(server)).hello()
        for transport in _transports(server):
            own = transport.get_extra_info("socket")
            nodelay.append(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        await peer.leave()
    assert nodelay
    assert all(nodelay)


def _transports(server: Server) -> list[asyncio.Transport]:
    current = server._current
    assert current is not None
    assert current._transport is not None
    return [cast("asyncio.Transport", current._transport)]


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "gdb"
    async with serving(FakeTarget(), Unix(str(path))) as server:
        assert (server.endpoint, server.remote) == (f"unix:{path}", str(path))
        peer = await (await connect(server)).hello()
        assert await peer.ask(b"qC") == b"QC1"
    assert await peer.ended() == b""
    assert not path.exists()


async def test_a_socket_that_another_has_made_since_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "gdb"
    async with serving(FakeTarget(), Unix(str(path))):
        path.unlink()
        other = Unix(str(path)).bind()
    assert path.is_socket()
    other.close()


async def test_a_port_in_use() -> None:
    async with serving(FakeTarget()) as server:
        with pytest.raises(InputError, match="is in use"):
            await Server(FakeTarget(), parse_endpoint(server.endpoint)).start()


async def test_listening_to_the_world_is_remarked(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(FakeTarget(), Tcp("0.0.0.0", 0)):
        assert "whoever can reach it controls the guest" in caplog.text


async def test_a_second_client_is_turned_away(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(FakeTarget()) as server:
        first = await (await connect(server)).hello()
        second = await connect(server)
        second.writer.write(b"+" + rsp.encode(b"qSupported:swbreak+") + rsp.encode(b"!"))
        said = await second.ended()
        assert said.startswith(b"+$E.one client is served at a time: 127.0.0.1:")
        assert said.count(b"$") == 1
        assert (await (await connect(server)).ended()) == b""  # who says nothing is told nothing
        assert "one client is served at a time" in caplog.text
        assert await first.ask(b"qC") == b"QC1"
        await first.leave()
        third = await until_free(server)
        assert await third.ask(b"qC") == b"QC1"


async def test_a_client_that_vanishes_while_the_guest_runs() -> None:
    target = slow()
    async with serving(target) as server:
        peer = await (await connect(server)).hello()
        peer.send(b"c")
        peer.writer.transport.abort()
        await called(target, "release")
        # Who comes next finds it running, and halts it.
        peer = await connect(server)
        peer.send(b"qC")
        await called(target, "interrupt")
        target.stop(Stopped(1, Signal.INT))
        assert await peer.reply() == b"QC1"
    assert not server._ended.is_set()


async def test_detaching_leaves_room_for_the_next() -> None:
    target = FakeTarget()
    async with serving(target) as server:
        peer = await (await connect(server)).hello()
        assert await peer.ask(b"D") == b"OK"
        assert await peer.ended() == b""
        assert target.calls == ["detach"]
        await until_free(server)


async def test_killing_ends_the_server() -> None:
    async with serving(FakeTarget()) as server:
        peer = await (await connect(server)).hello()
        peer.send(b"vKill;1")
        assert await peer.ended() == b"$OK#9a"
        await asyncio.wait_for(server.wait_ended(), 10)


async def test_quitting_leaves_room_for_the_next() -> None:
    target = FakeTarget()
    async with serving(target) as server:
        peer = await (await connect(server)).hello()
        peer.send(b"k")
        assert await peer.ended() == b""
        assert target.calls == ["detach"]
        await until_free(server)


@pytest.mark.parametrize(("said", "last"), [(b"k", b""), (b"D", b"$OK#9a"), (b"", b"")])
async def test_a_guest_may_have_to_end_with_its_client(said: bytes, last: bytes) -> None:
    target = FakeTarget()
    async with serving(target, kill_on_disconnect=True) as server:
        peer = await (await connect(server)).hello()
        if said:
            peer.send(said)
            assert await peer.ended() == last
        else:
            await peer.leave()
        await asyncio.wait_for(server.wait_ended(), 10)
        assert target.calls == ["kill"]


async def test_the_guests_end_is_told_before_the_servers() -> None:
    target = slow()
    async with serving(target) as server:
        peer = await (await connect(server)).hello()
        peer.send(b"c")
        await until(lambda: target.running)
        threading.Thread(target=target.stop, args=(Exited(),)).start()
        await asyncio.wait_for(server.wait_ended(), 10)
        assert await peer.ended() == b"$W00#b7"


async def test_the_guests_end_with_nobody_there() -> None:
    target = slow()
    async with serving(target) as server:
        target.stop(Stopped(1))
        target.stop(Exited())
        await asyncio.wait_for(server.wait_ended(), 10)


async def test_stops_come_from_another_thread() -> None:
    target = slow()
    async with serving(target) as server:
        peer = await (await connect(server)).hello()
        for number in range(200):
            peer.send(b"c")
            await until(lambda: target.running)
            report: Report = Stopped(1 + number % 2)
            threading.Thread(target=target.stop, args=(report,)).start()
            assert (await peer.reply()).startswith(b"T05thread:%d;" % (1 + number % 2))


async def test_an_interrupt_races_a_stop() -> None:
    target = slow()
    async with serving(target) as server:
        peer = await (await connect(server)).hello()
        for _ in range(200):
            peer.send(b"c")
            await until(lambda: target.running)
            stopper = threading.Thread(target=target.stop, args=(Stopped(1),))
            stopper.start()
            peer.writer.write(b"\x03")
            # Exactly one stop reply, then the answer to what was asked after it.
            assert (await peer.reply()).startswith(b"T05")
            assert await peer.ask(b"qC") == b"QC1"
            stopper.join()


async def test_interrupting_a_loop() -> None:
    target = FakeTarget()
    target.memory[:4] = HERE.to_bytes(4, "little")
    async with serving(target) as server:
        peer = await (await connect(server)).hello()
        for _ in range(50):
            peer.send(b"vCont;c")
            peer.writer.write(b"\x03")
            assert (await peer.reply()).startswith(b"T02")


async def test_a_client_that_does_not_read_is_not_read_from() -> None:
    async with serving(FakeTarget()) as server:
        peer = await (await connect(server)).hello()
        (transport,) = _transports(server)
        asked = 0
        while transport.is_reading():
            peer.writer.write(rsp.encode(b"m40000000,1000") * 100)
            asked += 100
            for _ in range(10):
                await asyncio.sleep(0)
        kept = transport.get_write_buffer_size()
        assert kept < 4 << 20
        for _ in range(asked):
            assert len(await peer.reply()) == 0x2000
        assert transport.is_reading()


async def test_closing_with_a_client_there_lets_it_go() -> None:
    target = slow()
    async with serving(target) as server:
        peer = await (await connect(server)).hello()
        peer.send(b"c")
        await until(lambda: target.running)
    assert await peer.ended() == b""
    assert target.calls[-1] == "release"
    target.stop(Stopped(1))  # nobody listens any more, and that is no error
    await server.close()


async def test_a_session_that_cannot_begin(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeTarget):
        def threads(self) -> list[object]:  # type: ignore[override]
            raise ZeroDivisionError

    async with serving(Broken()) as server:
        for _ in range(2):
            peer = await connect(server)
            peer.send(b"?")
            assert await peer.ended() == b""
    assert caplog.text.count("cannot begin a session") == 2


async def test_a_stop_that_cannot_be_asked_about(caplog: pytest.LogCaptureFixture) -> None:
    target = slow()
    async with serving(target):
        target.trouble = ZeroDivisionError()
        target.stop(Stopped(1))
        await until(lambda: target.trouble is None)
    assert "cannot tell why the target stopped" in caplog.text
