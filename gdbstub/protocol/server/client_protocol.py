"""One client's connection: its bytes to a session and back, whatever carries them.

It opens nothing and knows no packet; ``listener.py`` makes one for each client.
"""

import asyncio
import logging
from typing import Final, Protocol, cast

from gdbstub.protocol.endpoint import Tcp
from gdbstub.protocol.server.busy_poll import TIMES, BusyPoll
from gdbstub.protocol.session import Refusal, Session

_log = logging.getLogger("gdbstub.server")

#: How long a client may take to read the last reply, in seconds.
_LINGER: Final = 1.0
#: How long a client may hear nothing of what it waits for, in seconds; GDB's is 2.
_PATIENCE: Final = 0.5


class Host(Protocol):
    """What a conversation asks of the server."""

    @property
    def client(self) -> str:
        """Where the client is that is being served; empty if there is none."""
        ...

    def admit(self, client: "ClientProtocol") -> bool:
        """Whether *client* is now the one and only."""
        ...

    def dismiss(self, client: "ClientProtocol") -> None:
        """*client* is over: another client may come."""
        ...

    def session(self) -> Session:
        """Begin a client's conversation."""
        ...

    @property
    def may_wait(self) -> bool:
        """Whether the event loop may be kept waiting: the target does not need its thread."""
        ...

    def stops_soon(self) -> bool:
        """Whether the target, which was set going just now, has come to rest."""
        ...

    def end(self) -> None:
        """Nothing is left to serve."""
        ...


class Transport(Protocol):
    """What a conversation writes to; ``asyncio.Transport`` is one."""

    def write(self, data: bytes) -> None:
        """Send *data*, now or later."""
        ...

    def close(self) -> None:
        """Close when all is sent."""
        ...

    def abort(self) -> None:
        """Close now."""
        ...

    def pause_reading(self) -> None:
        """Take no more of the client's bytes."""
        ...

    def resume_reading(self) -> None:
        """Take them again."""
        ...


class ClientProtocol(asyncio.Protocol):
    """One client's bytes, to and from a ``Session``; *only*: no other can come."""

    def __init__(self, server: Host, *, only: bool = False) -> None:
        """Of *server*'s; nothing is connected yet."""
        self.lost = asyncio.Event()
        self._server = server
        self._only = only
        self._transport: Transport | None = None
        self._session: Session | None = None
        self._refusal: Refusal | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._working = False  # a slice of work is due
        self._busy_poll: BusyPoll | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there (``asyncio.Protocol``)."""
        # It need not be an instance of asyncio's class: uvloop's are none.
        transport = cast("asyncio.Transport", transport)
        address = transport.get_extra_info("peername")  # empty for a Unix socket
        if self._server.may_wait and (opened := transport.get_extra_info("socket")):
            self._busy_poll = BusyPoll(opened.fileno())
        self.open(transport, str(Tcp(*address[:2])) if address else "a local process")

    def open(self, transport: Transport, peer: str) -> None:
        """Begin, unless somebody else is being served."""
        self._transport, self.peer = transport, peer
        if not self._server.admit(self):
            _log.warning("turned %s away: one client is served at a time", peer)
            self._refusal = Refusal(
                f"one client is served at a time: {self._server.client} is here"
            )
            self._end_soon(transport)
            return
        _log.info("client: %s", peer)
        try:
            self._session = self._server.session()
        except Exception:
            _log.exception("cannot begin a session")
            self._server.dismiss(self)
            transport.close()

    def data_received(self, data: bytes) -> None:
        """Bytes of the client's."""
        if (session := self._session) and self._transport:
            self._answer(session, data)
            if self._busy_poll:
                for _ in range(TIMES):
                    if not (
                        session.idle and not self._unsent() and (data := self._busy_poll.next())
                    ):
                        break
                    self._answer(session, data)
            if session.busy:
                self._begin_work()
        elif self._refusal and self._transport:
            self._transport.write(self._refusal.receive(data))
            if self._refusal.over:
                self._transport.close()

    def _answer(self, session: Session, data: bytes) -> None:
        self._send(session.receive(data))
        if session.awaits_stop and self._server.stops_soon():
            self._send(session.target_stopped())

    def target_stopped(self) -> None:
        """The target wants to be asked why it is at rest, or has printed something."""
        if self._session:
            self._send(self._session.target_stopped())
            self._begin_work()

    def _unsent(self) -> bool:
        """Whether the client has not taken all that was sent to it."""
        return bool(cast("asyncio.Transport", self._transport).get_write_buffer_size())

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
        """The client does not take what is sent to it."""
        if self._transport:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It does again."""
        if self._transport:
            self._transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone, or was let go."""
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
        if self._transport:
            self._transport.close()
            self._end_soon(self._transport)

    def _end_soon(self, transport: Transport) -> None:
        """Bear with a client for a moment that does not read, or not say anything."""
        if not self._timer:
            self._timer = asyncio.get_running_loop().call_later(_LINGER, transport.abort)

    def _send(self, data: bytes) -> None:
        if self._transport is None or self._session is None:
            return
        if data:
            self._transport.write(data)
        if self._session.over:
            self.finish()
