"""A client of a few lines, where a test must see the packets themselves."""

import socket
from typing import Protocol, Self

import pytest

from gdbstub import rsp
from tests.bounds import HANGS


class Listening(Protocol):
    """A stub that listens on this machine."""

    port: int


class Client:
    """Speaks without acks; ``ask`` is one packet and its reply."""

    def __init__(self, stub: Listening) -> None:
        self._socket = socket.create_connection(("127.0.0.1", stub.port), timeout=HANGS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = rsp.Connection()
        self._waiting: list[bytes] = []
        try:
            assert self.ask("QStartNoAckMode") == "OK"
            self._send(b"+")
            self.ask("qSupported:swbreak+;hwbreak+")
        except BaseException:
            self._socket.close()
            raise
        self._connection.acks = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, packet: str) -> str:
        """Send *packet*; the reply."""
        self.send(packet)
        return self.reply()

    def send(self, packet: str) -> None:
        body = packet.encode()
        self._send(b"$%b#%02x" % (body, sum(body) % 256))

    def interrupt(self) -> None:
        self._send(b"\x03")

    def reply(self) -> str:
        """The next packet from the stub."""
        while not self._waiting:
            data = self._socket.recv(1 << 16)
            assert data, "the stub closed the connection"
            events = self._connection.receive(data)
            self._waiting += [event.data for event in events if isinstance(event, rsp.Packet)]
        return self._waiting.pop(0).decode("latin-1")

    def expect_silence(self, seconds: float) -> None:
        """Let time pass in which the stub has nothing to say."""
        assert not self._waiting
        self._socket.settimeout(seconds)
        with pytest.raises(TimeoutError):
            self._socket.recv(1)
        self._socket.settimeout(HANGS)

    def _send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def register(self, number: int) -> int:
        return int.from_bytes(bytes.fromhex(self.ask(f"p{number:x}")), "little")


def stop_fields(reply: str) -> dict[str, str]:
    """The pairs of a ``T`` reply."""
    assert reply.startswith("T05"), reply
    return dict(pair.split(":", 1) for pair in reply[3:].split(";") if pair)


def stop_pc(fields: dict[str, str]) -> int:
    """Return the expedited PC of the stop."""
    return int.from_bytes(bytes.fromhex(fields["20"]), "little")
