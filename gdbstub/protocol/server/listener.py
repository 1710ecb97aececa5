"""Listener: the server's endpoint, and the one client that is served.

It reads and writes no bytes: ``client_protocol.py`` does, for each client.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Self

from gdbstub.capabilities import breakpoint_conditions
from gdbstub.protocol.endpoint import (
    Endpoint,
    Stdio,
    Tcp,
    Unix,
    parse_endpoint,
    remover,
)
from gdbstub.protocol.record import Recorder
from gdbstub.protocol.server import stdio
from gdbstub.protocol.server.client_protocol import ClientProtocol
from gdbstub.protocol.server.stop_notifier import StopNotifier
from gdbstub.protocol.session import Session
from gdbstub.rsp import encode
from gdbstub.target import Exited, Target

_log = logging.getLogger("gdbstub.server")

#: Number of connections that may wait for their first packet, or for the place of another.
_WAITING: Final = 16


class Server:
    """Server of *target* on *endpoint*, on the running event loop.

    As an asynchronous context it listens inside and is closed afterwards.
    """

    def __init__(
        self,
        target: Target,
        endpoint: Endpoint | str,
        *,
        recorder: Recorder | None = None,
        kill_on_disconnect: bool = False,
        encode: Callable[[bytes], bytes] = encode,
        stop_wait_timeout: float = 0.0,
    ) -> None:
        """Open nothing yet. With *kill_on_disconnect* the guest ends with its first client.

        *encode* frames replies as ``rsp.encode`` does.

        *stop_wait_timeout* is the time, in seconds, for which the event loop waits for the stop
        of a target that was just resumed, and then for the next packet. It is for a target that
        runs on threads of its own. 0 is for a target that needs the event loop's thread.

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
        self._waiting: list[ClientProtocol] = []  # connected, and without a session
        self._ended = asyncio.Event()
        self._notifier: StopNotifier | None = None
        self._stop_wait_timeout = stop_wait_timeout
        self._undo: Callable[[], None] = lambda: None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def endpoint(self) -> str:
        """Endpoint that is bound, as ``--gdb`` takes it, with the port that was chosen."""
        return str(self._bound)

    @property
    def remote(self) -> str:
        """Endpoint as GDB's ``target remote`` takes it: ``HOST:PORT``, or the socket's path."""
        return self._bound.path if isinstance(self._bound, Unix) else str(self._bound)

    async def start(self) -> None:
        """Listen, or connect to the client at standard input and output.

        It sets ``Target.notify``: the target must not be resumed before.

        Raises:
            InputError: the endpoint cannot be bound.
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
                self._undo = remover(unix.path)
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
        """Disconnect the client and unbind the endpoint; a second call does nothing."""
        self.target.notify = lambda: None
        if self._notifier:
            self._notifier.close()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for client in self._waiting:
            client.abort()
        self._waiting.clear()
        if current := self._current:
            current.finish()
            await current.lost.wait()
        self._undo()

    @property
    def client(self) -> str:
        """Address of the client that is served; empty if there is none."""
        return self._current.peer if self._current else ""

    def wait(self, client: ClientProtocol) -> None:
        """Note that *client* is connected; of those that have no session, the oldest may go."""
        self._waiting.append(client)
        if len(self._waiting) > _WAITING:
            self._waiting.pop(0).abort()

    def admit(self, client: ClientProtocol) -> bool:
        """Serve *client* if no other is served that lives; return True if it is served."""
        if (current := self._current) and current.gone:
            _log.warning("%s is gone without a word: its place is taken", current.peer)
            current.abort()
            self._current = None
        if self._current is None:
            self._current = client
            if client in self._waiting:
                self._waiting.remove(client)
        return self._current is client

    def dismiss(self, client: ClientProtocol) -> None:
        """Serve *client* no more; the one that has waited longest with a packet may come."""
        if client in self._waiting:
            self._waiting.remove(client)
        if self._current is client:
            self._current = None
            if self._listeners:
                any(waiting.try_again() for waiting in self._waiting[:])

    def new_session(self) -> Session:
        """Begin a session with the target."""
        return Session(
            self.target,
            self._recorder,
            kill_on_disconnect=self._kill_on_disconnect,
            encode=self._encode,
        )

    @property
    def may_block(self) -> bool:
        """True if the event loop's thread may wait, because the target does not need it."""
        return self._stop_wait_timeout > 0

    def wait_for_stop(self) -> bool:
        """Wait a moment for the target, just resumed; return True if it is to be asked."""
        timeout = self._stop_wait_timeout
        return bool(timeout and self._notifier and self._notifier.wait(timeout))

    def end(self) -> None:
        """End serving: the guest is gone, or no other client can come."""
        self._ended.set()

    def _client(self) -> ClientProtocol:
        return ClientProtocol(self)

    def _target_stopped(self) -> None:
        if self._current:
            self._current.target_stopped()
            return
        try:
            if (target := breakpoint_conditions(self.target)) and (output := target.take_output()):
                _log.info("printed without a client: %s", output.decode("ascii", "replace"))
            report = self.target.take_report()
        except Exception:
            _log.exception("cannot tell why the target stopped")
            return
        if isinstance(report, Exited):
            self.end()
