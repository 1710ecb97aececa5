"""The server: brings bytes and stop events to a session, one client at a time.

It understands no packet; what the bytes mean is ``session.py``'s to know.
"""

import asyncio
import logging
import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol, Self, cast

from gdbstub.endpoint import Endpoint, Stdio, Tcp, Unix, parse_endpoint
from gdbstub.errors import InputError
from gdbstub.record import Recorder
from gdbstub.session import Refusal, Session
from gdbstub.target import Exited, Target, conditional

_log = logging.getLogger(__name__)

#: How long a client may take to read the last reply, in seconds.
_LINGER: Final = 1.0
#: How long a client may hear nothing of what it waits for, in seconds; GDB's is 2.
_PATIENCE: Final = 0.5


class Server:
    """Serves *target* on *endpoint*; all of it on the running event loop.

    ``endpoint`` names what is bound, ``remote`` is what GDB's ``target remote`` takes. As an
    asynchronous context it is listening inside, and closed behind.
    """

    def __init__(
        self,
        target: Target,
        endpoint: Endpoint | str,
        *,
        recorder: Recorder | None = None,
        kill_on_disconnect: bool = False,
    ) -> None:
        """Open nothing yet. *kill_on_disconnect* ends the guest with its first client.

        Raises:
            InputError: *endpoint* is a text and none of ``HOST:PORT``, ``unix:PATH``, ``stdio``.
        """
        if isinstance(endpoint, str):
            endpoint = parse_endpoint(endpoint, "endpoint")
        self.target = target
        self._recorder = recorder
        self._kill_on_disconnect = kill_on_disconnect
        self._asked = endpoint
        self._bound = endpoint
        self._listeners: list[asyncio.Server] = []
        self._current: _Conversation | None = None
        self._ended = asyncio.Event()
        self._hop_due = False
        self._undo: Callable[[], None] = lambda: None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def endpoint(self) -> str:
        """What is bound, as ``--gdb`` would spell it, with the port that was chosen."""
        return str(self._bound)

    @property
    def remote(self) -> str:
        """``HOST:PORT``, or the socket's path."""
        return self._bound.path if isinstance(self._bound, Unix) else str(self._bound)

    async def start(self) -> None:
        """Listen, or take standard input for the client.

        ``Target.notify`` is ours from now on: set nothing going before.

        Raises:
            InputError: the endpoint cannot be had.
        """
        loop = asyncio.get_running_loop()
        match self._asked:
            case Tcp() as tcp:
                self._bound, sockets = tcp.bind()
                if not tcp.local:
                    _log.warning("%s: whoever can reach it controls the guest", self._bound)
                for each in sockets:
                    self._listeners.append(await loop.create_server(self._client, sock=each))
            case Unix() as unix:
                bound = unix.bind()
                self._undo = _remover(unix.path)
                self._listeners.append(await loop.create_unix_server(self._client, sock=bound))
            case Stdio():
                await self._serve_stdio()

        def notify() -> None:
            # From any thread; several in a row are one look at the target.
            if not self._hop_due:
                self._hop_due = True
                with suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(self._target_stopped)

        self.target.notify = notify

    async def wait_ended(self) -> None:
        """Wait until the guest is gone and the last reply sent, or stdio's client has left."""
        await self._ended.wait()

    async def close(self) -> None:
        """Let the client go and leave nothing bound; more than once is no harm."""
        self.target.notify = lambda: None
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        if current := self._current:
            current.finish()
            await current.lost.wait()
        self._undo()

    @property
    def client(self) -> str:
        """Where the client is that is being served; empty if there is none."""
        return self._current.peer if self._current else ""

    def admit(self, conversation: "_Conversation") -> bool:
        """Whether *conversation* is now the one and only."""
        if self._current is None:
            self._current = conversation
        return self._current is conversation

    def dismiss(self, conversation: "_Conversation") -> None:
        """*conversation* is over: another client may come."""
        if self._current is conversation:
            self._current = None

    def session(self) -> Session:
        """Begin a client's conversation."""
        return Session(self.target, self._recorder, kill_on_disconnect=self._kill_on_disconnect)

    def end(self) -> None:
        """Nothing is left to serve."""
        self._ended.set()

    def _client(self) -> "_Conversation":
        return _Conversation(self)

    def _target_stopped(self) -> None:
        self._hop_due = False  # first: a stop from here on is news
        if self._current:
            self._current.target_stopped()
            return
        try:
            if (target := conditional(self.target)) and (output := target.take_output()):
                _log.info("printed while nobody was there: %s", output.decode("ascii", "replace"))
            report = self.target.take_report()
        except Exception:
            _log.exception("cannot tell why the target stopped")
            return
        if isinstance(report, Exited):
            self.end()

    async def _serve_stdio(self) -> None:
        loop = asyncio.get_running_loop()
        conversation = _Conversation(self, only=True)
        # Duplicates are ours to close; that they do not block is shared with the originals.
        self._undo = _reblocker(0, 1)
        taken, given = os.fstat(0), os.fstat(1)
        if stat.S_ISSOCK(taken.st_mode) and os.path.samestat(taken, given):
            # GDB's way: one socket for both, which asyncio would not have as two pipes.
            both = socket.socket(fileno=os.dup(0))
            await loop.connect_accepted_socket(lambda: conversation, both)
            return
        pipes = [os.fdopen(os.dup(fd), mode, buffering=0) for fd, mode in ((0, "rb"), (1, "wb"))]
        try:
            writer, _ = await loop.connect_write_pipe(lambda: _Half(conversation), pipes[1])
            link = _Pipes(writer)
            await loop.connect_read_pipe(lambda: _Reading(conversation, link), pipes[0])
        except ValueError:
            for pipe in pipes:
                pipe.close()
            raise InputError(
                "stdio needs pipes or sockets for standard input and output; "
                "it is for GDB's: target remote | COMMAND"
            ) from None


def _remover(path: str) -> Callable[[], None]:
    """What removes the socket at *path*, unless another has taken its place."""
    ours = os.stat(path)

    def remove() -> None:
        with suppress(OSError):
            if os.path.samestat(os.stat(path), ours):
                os.unlink(path)

    return remove


def _reblocker(*files: int) -> Callable[[], None]:
    """What makes these descriptors block again if they do now."""
    blocking = [file for file in files if os.get_blocking(file)]

    def reblock() -> None:
        for file in blocking:
            with suppress(OSError):
                os.set_blocking(file, True)

    return reblock


class _Link(Protocol):
    """What a conversation writes to; ``asyncio.Transport`` is one."""

    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class _Conversation(asyncio.Protocol):
    """One client's bytes, to and from a ``Session``; *only*: no other can come."""

    def __init__(self, server: Server, *, only: bool = False) -> None:
        self.lost = asyncio.Event()
        self._server = server
        self._only = only
        self._link: _Link | None = None
        self._session: Session | None = None
        self._refusal: Refusal | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._working = False  # a slice of work is due

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        link = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        address = link.get_extra_info("peername")  # empty for a Unix socket
        self.open(link, str(Tcp(*address[:2])) if address else "a local process")

    def open(self, link: _Link, peer: str) -> None:
        """Begin, unless somebody else is being served."""
        self._link, self.peer = link, peer
        if not self._server.admit(self):
            _log.warning("turned %s away: one client is served at a time", peer)
            self._refusal = Refusal(
                f"one client is served at a time: {self._server.client} is here"
            )
            self._end_soon(link)
            return
        _log.info("client: %s", peer)
        try:
            self._session = self._server.session()
        except Exception:
            _log.exception("cannot begin a session")
            self._server.dismiss(self)
            link.close()

    def data_received(self, data: bytes) -> None:
        if self._session and self._link:
            self._send(self._session.receive(data))
            self._begin_work()
        elif self._refusal and self._link:
            self._link.write(self._refusal.receive(data))
            if self._refusal.over:
                self._link.close()

    def target_stopped(self) -> None:
        if self._session:
            self._send(self._session.target_stopped())
            self._begin_work()

    def _begin_work(self) -> None:
        if self._session and self._session.busy and not self._working:
            self._working = True
            loop = asyncio.get_running_loop()
            loop.call_soon(self._work, loop, loop.time() + _PATIENCE)

    def _work(self, loop: asyncio.AbstractEventLoop, patience: float) -> None:
        """A slice of a packet's work, then whatever else the loop has to do."""
        self._working = False
        if self._session is None:
            return
        data = self._session.advance()
        if not data and loop.time() >= patience:
            data = self._session.keep_alive()
        self._send(data)
        if self._session.busy:
            self._working = True
            loop.call_soon(self._work, loop, loop.time() + _PATIENCE if data else patience)

    # A client that does not read its replies is not read from either, so what is kept
    # for it stays small.
    def pause_writing(self) -> None:
        if self._link:
            self._link.pause_reading()

    def resume_writing(self) -> None:
        if self._link:
            self._link.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if self._session:
            _log.info("client gone%s", f": {error}" if error else "")
            self._session.close()
        if self._timer:
            self._timer.cancel()
        self._server.dismiss(self)
        self.lost.set()
        if self._only or (self._session and self._session.guest_gone):
            self._server.end()

    def finish(self) -> None:
        """End the conversation when what was written is sent, or soon."""
        if self._session:
            self._session.close()
        if self._link:
            self._link.close()
            self._end_soon(self._link)

    def _end_soon(self, link: _Link) -> None:
        """Bear with a client for a moment that does not read, or not say anything."""
        if not self._timer:
            self._timer = asyncio.get_running_loop().call_later(_LINGER, link.abort)

    def _send(self, data: bytes) -> None:
        if self._link is None or self._session is None:
            return
        if data:
            self._link.write(data)
        if self._session.over:
            self.finish()


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

    def __init__(self, conversation: _Conversation) -> None:
        self._conversation = conversation

    def pause_writing(self) -> None:
        self._conversation.pause_writing()

    def resume_writing(self) -> None:
        self._conversation.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._conversation.finish()


class _Reading(asyncio.Protocol):
    """Standard input's events."""

    def __init__(self, conversation: _Conversation, link: _Pipes) -> None:
        self._conversation, self._link = conversation, link

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._link.reader = cast("asyncio.ReadTransport", transport)
        self._conversation.open(self._link, "standard input")

    def data_received(self, data: bytes) -> None:
        self._conversation.data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._conversation.connection_lost(error)
        self._link.close()
