"""Standard input and output of this process as a connection.

It serves one client, which has started the process: GDB's ``target remote | COMMAND``.
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
    """Connect *client* to duplicates of the standard streams, which it closes.

    The originals do not block either from now on, as their duplicates: see ``reblocker``.

    Raises:
        InputError: a stream is no pipe, no socket and no terminal.
    """
    loop = asyncio.get_running_loop()
    stdin, stdout = os.fstat(0), os.fstat(1)
    if stat.S_ISSOCK(stdin.st_mode) and os.path.samestat(stdin, stdout):
        # GDB's way: one socket for both, which asyncio does not take as two pipes.
        both = socket.socket(fileno=os.dup(0))
        await loop.connect_accepted_socket(lambda: client, both)
        return
    # uvloop's event loop ends the process if it is given a plain file.
    if not (_connects(stdin.st_mode) and _connects(stdout.st_mode)):
        raise InputError(
            "stdio needs pipes or sockets for standard input and output; "
            "it is for GDB's: target remote | COMMAND"
        )
    pipes = [os.fdopen(os.dup(fd), mode, buffering=0) for fd, mode in ((0, "rb"), (1, "wb"))]
    writer, _ = await loop.connect_write_pipe(lambda: _StdoutProtocol(client), pipes[1])
    transport = _StdioTransport(writer)
    await loop.connect_read_pipe(lambda: _StdinProtocol(client, transport), pipes[0])


def _connects(mode: int) -> bool:
    """Return True if a file of this mode is a pipe, a socket, or a character device."""
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)


def reblocker(*files: int) -> Callable[[], None]:
    """Return a function that makes the descriptors block again that block now."""
    blocking = [file for file in files if os.get_blocking(file)]

    def reblock() -> None:
        for file in blocking:
            with suppress(OSError):
                os.set_blocking(file, True)

    return reblock


class _StdioTransport:
    """Transport of standard input and output together."""

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


class _StdoutProtocol(asyncio.BaseProtocol):
    """Protocol of standard output: its events go to *client*."""

    def __init__(self, client: ClientProtocol) -> None:
        self._client = client

    def pause_writing(self) -> None:
        self._client.pause_writing()

    def resume_writing(self) -> None:
        self._client.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._client.finish()


class _StdinProtocol(asyncio.Protocol):
    """Protocol of standard input: its bytes and events go to *client*."""

    def __init__(self, client: ClientProtocol, transport: _StdioTransport) -> None:
        self._client, self._transport = client, transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport.reader = cast("asyncio.ReadTransport", transport)
        self._client.open(self._transport, "standard input")

    def data_received(self, data: bytes) -> None:
        self._client.data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._client.connection_lost(error)
        self._transport.close()
