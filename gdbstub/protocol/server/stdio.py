"""This process's standard input and output as a connection.

It serves one client, the one that started the process: GDB's ``target remote | COMMAND``.
"""

import asyncio
import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from gdbstub.errors import InputError
from gdbstub.protocol.server.client_protocol import ClientProtocol


async def connect(client: ClientProtocol) -> None:
    """Let *client* have the standard streams: duplicates, which are its to close.

    That these do not block is shared with the originals: see ``reblocker``.

    Raises:
        InputError: they are no pipes and no sockets.
    """
    loop = asyncio.get_running_loop()
    taken, given = os.fstat(0), os.fstat(1)
    if stat.S_ISSOCK(taken.st_mode) and os.path.samestat(taken, given):
        # GDB's way: one socket for both, which asyncio would not have as two pipes.
        both = socket.socket(fileno=os.dup(0))
        await loop.connect_accepted_socket(lambda: client, both)
        return
    # A loop of uvloop's does not survive being given a plain file.
    if not (_carries(taken.st_mode) and _carries(given.st_mode)):
        raise InputError(
            "stdio needs pipes or sockets for standard input and output; "
            "it is for GDB's: target remote | COMMAND"
        )
    pipes = [os.fdopen(os.dup(fd), mode, buffering=0) for fd, mode in ((0, "rb"), (1, "wb"))]
    writer, _ = await loop.connect_write_pipe(lambda: _Half(client), pipes[1])
    transport = _Pipes(writer)
    await loop.connect_read_pipe(lambda: _Reading(client, transport), pipes[0])


def _carries(mode: int) -> bool:
    """Whether a stream of this kind is a connection: a pipe, a socket, or a terminal."""
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)


def reblocker(*files: int) -> Callable[[], None]:
    """What makes these descriptors block again if they do now."""
    blocking = [file for file in files if os.get_blocking(file)]

    def reblock() -> None:
        for file in blocking:
            with suppress(OSError):
                os.set_blocking(file, True)

    return reblock


class _Pipes:
    """Standard input and output as one link."""

    def __init__(self, writer: asyncio.WriteTransport) -> None:
        self._writer = writer
        self.reader: asyncio.ReadTransport | None = None

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    def close(self) -> None:
        self._writer.close()
        if self.reader:
            self.reader.close()

    def abort(self) -> None:
        self._writer.abort()
        self.close()

    def pause_reading(self) -> None:
        if self.reader:
            self.reader.pause_reading()

    def resume_reading(self) -> None:
        if self.reader:
            self.reader.resume_reading()


class _Half(asyncio.BaseProtocol):
    """Standard output's events."""

    def __init__(self, client: ClientProtocol) -> None:
        self._client = client

    def pause_writing(self) -> None:
        self._client.pause_writing()

    def resume_writing(self) -> None:
        self._client.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._client.finish()


class _Reading(asyncio.Protocol):
    """Standard input's events."""

    def __init__(self, client: ClientProtocol, transport: _Pipes) -> None:
        self._client, self._transport = client, transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport.reader = cast("asyncio.ReadTransport", transport)
        self._client.open(self._transport, "standard input")

    def data_received(self, data: bytes) -> None:
        self._client.data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._client.connection_lost(error)
        self._transport.close()
