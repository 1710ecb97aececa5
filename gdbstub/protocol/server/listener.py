"""Listening: the endpoint, and who of those that come to it is served.

It reads and writes no bytes: ``client.py`` does, one for each client.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from gdbstub.capabilities import breakpoint_conditions
from gdbstub.protocol.endpoint import Endpoint, Stdio, Tcp, Unix, parse_endpoint
from gdbstub.protocol.record import Recorder
from gdbstub.protocol.server import stdio
from gdbstub.protocol.server.client_protocol import ClientProtocol
from gdbstub.protocol.server.stop_notifier import StopNotifier
from gdbstub.protocol.session import Session
from gdbstub.rsp import encode
from gdbstub.target import Exited, Target, patience

_log = logging.getLogger("gdbstub.server")


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
        encode: Callable[[bytes], bytes] = encode,
    ) -> None:
        """Open nothing yet. *kill_on_disconnect* ends the guest with its first client.

        *encode* does what ``rsp.encode`` does.

        Raises:
            InputError: *endpoint* is a text and none of ``HOST:PORT``, ``unix:PATH``, ``stdio``.
        """
        if isinstance(endpoint, str):
            endpoint = parse_endpoint(endpoint, "endpoint")
        self.target = target
        self._recorder = recorder
        self._kill_on_disconnect = kill_on_disconnect
        self._encode = encode
        self._asked = endpoint
        self._bound = endpoint
        self._listeners: list[asyncio.Server] = []
        self._current: ClientProtocol | None = None
        self._ended = asyncio.Event()
        self._notifier: StopNotifier | None = None
        self._patience = patience(target)
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
        _log.info("event loop: %s", type(loop).__module__.partition(".")[0])
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
                self._undo = stdio.reblocker(0, 1)
                await stdio.connect(ClientProtocol(self, only=True))

        self._notifier = StopNotifier(loop, self._target_stopped)
        self.target.notify = self._notifier.notify

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

    def admit(self, client: ClientProtocol) -> bool:
        """Whether *client* is now the one and only."""
        if self._current is None:
            self._current = client
        return self._current is client

    def dismiss(self, client: ClientProtocol) -> None:
        """*client* is over: another client may come."""
        if self._current is client:
            self._current = None

    def session(self) -> Session:
        """Begin a client's conversation."""
        return Session(
            self.target,
            self._recorder,
            kill_on_disconnect=self._kill_on_disconnect,
            encode=self._encode,
        )

    @property
    def may_wait(self) -> bool:
        """Whether the event loop may be kept waiting: the target does not need its thread."""
        return self._patience > 0

    def stops_soon(self) -> bool:
        """Whether the target, which was set going just now, has come to rest."""
        return bool(self._patience and self._notifier and self._notifier.wait(self._patience))

    def end(self) -> None:
        """Nothing is left to serve."""
        self._ended.set()

    def _client(self) -> ClientProtocol:
        return ClientProtocol(self)

    def _target_stopped(self) -> None:
        if self._current:
            self._current.target_stopped()
            return
        try:
            if (target := breakpoint_conditions(self.target)) and (output := target.take_output()):
                _log.info("printed while nobody was there: %s", output.decode("ascii", "replace"))
            report = self.target.take_report()
        except Exception:
            _log.exception("cannot tell why the target stopped")
            return
        if isinstance(report, Exited):
            self.end()


def _remover(path: str) -> Callable[[], None]:
    """What removes the socket at *path*, unless another has taken its place."""
    ours = os.stat(path)

    def remove() -> None:
        with suppress(OSError):
            if os.path.samestat(os.stat(path), ours):
                os.unlink(path)

    return remove
