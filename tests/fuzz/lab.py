"""Targets for what the lab's QEMU says: the replies of its monitor, and a table among them."""

import asyncio
from collections.abc import Coroutine
from functools import cache
from pathlib import Path
from typing import Final
from unittest import mock

from gdbstub.errors import LabError
from gdbstub.lab import monitor
from tests.fuzz.target import fuzz_target, only

#: Turns of the event loop to wait for a request before the next reply, and seconds for them all.
_TURNS: Final = 40
_TIMEOUT: Final = 20.0
_GREETING: Final = (
    b'{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, '
    b'"capabilities": []}}'
)
#: Parts of replies; requests are numbered.
_WORDS: Final = (
    *(_GREETING, b'{"return": {}, "id": "__qmp#00000"}', b'{"return": "", "id": "__qmp#00001"}'),
    *(b'"id": "__qmp#00000"', b'"id": "__qmp#00001"', b'{"error": {"class": "E", "desc": ""}'),
    *(b'{"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}', b"\n", b"null"),
)


@fuzz_target("usernet", 512)
def usernet(data: bytes) -> None:
    """Any table gives forwards with an address and two numbers."""
    for forward in monitor.forwards(data.decode("utf-8", "replace")):
        assert 0 <= forward.local_port < 100_000
        assert 0 <= forward.port < 100_000
        assert forward.address


class _Qemu(asyncio.Transport):
    """QEMU's end of a connection: it replies with a line to each request, then no more.

    A line comes without a request where none has come for some turns of the event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, lines: list[bytes]) -> None:
        super().__init__()
        self._loop, self._lines = loop, iter(lines)
        self._reader = asyncio.StreamReader(loop=loop)
        self._protocol = asyncio.StreamReaderProtocol(self._reader, loop=loop)
        self._protocol.connection_made(self)
        self._turns, self._ended, self._closing = _TURNS, False, False
        self.streams = self._reader, asyncio.StreamWriter(self, self._protocol, self._reader, loop)
        self._say()
        loop.call_soon(self._turn)

    def _say(self) -> None:
        self._turns = _TURNS
        if self._ended:
            return
        if (line := next(self._lines, None)) is not None:
            self._reader.feed_data(line + b"\r\n")
        else:
            self._reader.feed_eof()
            self._ended = True

    def _turn(self) -> None:
        self._turns -= 1
        if not self._turns:
            self._say()
        if not self._ended:
            self._loop.call_soon(self._turn)

    # What the client calls.

    def write(self, data: object) -> None:
        self._say()

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return 0, 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def close(self) -> None:
        self._ended = self._closing = True
        self._loop.call_soon(self._protocol.connection_lost, None)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@fuzz_target("qmp", 256, lambda: _WORDS)
def qmp(data: bytes) -> None:
    """Whatever the monitor's other end says gives text or LabError, and no task is left."""
    loop, lines = _loop(), data.split(b"\n")[:8]

    async def connect(**_: object) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return _Qemu(loop, lines).streams

    def work(client: monitor.Client) -> Coroutine[object, object, str]:
        return monitor.human(client, "info usernet")

    with mock.patch.object(asyncio, "open_unix_connection", connect), only(LabError):
        said = loop.run_until_complete(monitor._converse(Path("qmp"), work, _TIMEOUT))
        assert isinstance(said, str)
    assert not asyncio.all_tasks(loop)
