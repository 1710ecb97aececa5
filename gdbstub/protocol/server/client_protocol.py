"""One client's connection as an ``asyncio.Protocol``: bytes to a session and back.

It opens nothing and knows no packet. ``listener.py`` makes one for each client.
"""

import asyncio
import logging
import re
from time import perf_counter
from typing import TYPE_CHECKING, Final, Protocol, cast

from gdbstub import rsp
from gdbstub.protocol.endpoint import Tcp
from gdbstub.protocol.refusal import Refusal
from gdbstub.protocol.server.busy_poll import BURST_SECONDS, TIMES, BusyPoll
from gdbstub.protocol.server.liveness import has_ended, is_gone
from gdbstub.protocol.session import Session
from gdbstub.protocol.states import AWAITING_PACKET, SessionState

if TYPE_CHECKING:
    import socket

_log = logging.getLogger("gdbstub.server")

#: Time that a client has to read the last reply, in seconds.
_LINGER: Final = 1.0
#: Time after which a client that waits for a reply is sent a byte, in seconds. GDB waits for 2.
_KEEP_ALIVE: Final = 0.5
#: Time that a client waits for the place of another that is served, in seconds. One that was killed
#: may be noticed later than the client that its user has started since.
_ADMISSION_TIMEOUT: Final = 1.0
#: Number of bytes that are kept of a client before its first packet has arrived.
_KEPT: Final = 2 * rsp.PACKET_SIZE

#: Events of a packet that is answered although it cannot be obeyed.
_BAD_PACKETS: Final = (rsp.ControlByte.BAD_CHECKSUM, rsp.ControlByte.OVERSIZED)

#: Bytes that may all be those of an HTTP request's method, which a page in a browser chooses;
#: a debugger says something else before. The blank behind a shorter method arrives with it: the
#: least segment of TCP has 536 bytes (RFC 9293, 3.7.1).
_LONGEST_METHOD: Final = 512
#: Anything that is no character of a token (RFC 9110, 5.6.2).
_NO_TOKEN: Final = rb"[^!#$%&'*+.^_`|~0-9A-Za-z-]"

# Names of their own, for packets' sake: before Python 3.12 ``Enum.MEMBER`` is slow.
_RUNNING: Final = SessionState.RUNNING


class ServerInterface(Protocol):
    """Server as ``ClientProtocol`` uses it; ``listener.Server`` is one."""

    @property
    def client(self) -> str:
        """Address of the client that is served; empty if there is none."""
        ...

    def wait(self, client: "ClientProtocol") -> None:
        """Note that *client* is connected, and not served yet."""
        ...

    def admit(self, client: "ClientProtocol") -> bool:
        """Serve *client* if no other is served; return True if it is served."""
        ...

    def dismiss(self, client: "ClientProtocol") -> None:
        """Serve *client* no more, so that another client may come."""
        ...

    def new_session(self) -> Session:
        """Begin a session with the target."""
        ...

    @property
    def may_block(self) -> bool:
        """True if the event loop's thread may wait, because the target does not need it."""
        ...

    def wait_for_stop(self) -> bool:
        """Wait a moment for the target, just resumed; return True if it is to be asked."""
        ...

    def end(self) -> None:
        """End serving: the guest is gone, or no other client can come."""
        ...


class Transport(Protocol):
    """Part of ``asyncio.Transport`` that is used here; standard input and output have their own."""

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
        """Read no more bytes."""
        ...

    def resume_reading(self) -> None:
        """Read on."""
        ...


class ClientProtocol(asyncio.Protocol):
    """Connection of one client, with its ``Session``."""

    def __init__(self, server: ServerInterface, *, only: bool = False) -> None:
        """Begin unconnected; *only* says that no other client can come."""
        self.lost = asyncio.Event()
        self.peer = ""
        self.socket: socket.socket | None = None
        self._server = server
        self._only = only
        self._transport: Transport | None = None
        self._session: Session | None = None
        self._held = b""  # bytes that arrived before there is a session
        self._first = rsp.Connection()  # reads them
        self._has_packet = False  # one is among them
        self._refusal: Refusal | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._halting_timer: asyncio.TimerHandle | None = None
        self._advance_due = False  # ``_advance`` is called at the loop's next turn
        self._writing = True  # False: the client has not taken what was sent
        self._stopped = False  # the target has stopped or has output, while not writing
        self._busy_poll: BusyPoll | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with a client that has connected (``asyncio.Protocol``)."""
        # uvloop's transports are not instances of asyncio's class.
        self._transport = transport = cast("asyncio.Transport", transport)
        self.socket = transport.get_extra_info("socket")
        if self._server.may_block and self.socket:
            self._busy_poll = BusyPoll(self.socket.fileno(), transport)
        address = transport.get_extra_info("peername")  # empty for a Unix socket
        self.peer = str(Tcp(*address[:2])) if address else "a local process"
        self._refuse_soon()
        self._server.wait(self)

    def open(self, transport: Transport, peer: str) -> None:
        """Begin a session with the only client."""
        self._transport, self.peer = transport, peer
        self._server.admit(self)
        self._begin()

    def _begin(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        _log.info("client: %s", self.peer)
        try:
            self._session = self._server.new_session()
            self._halting_soon()
        except Exception:
            _log.exception("cannot begin a session")
            self._server.dismiss(self)
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client (``asyncio.Protocol``)."""
        if session := self._session:
            awaiting = self._answer(session, data)
            if busy_poll := self._busy_poll:
                end = perf_counter() + BURST_SECONDS
                for _ in range(TIMES):
                    if not (awaiting and perf_counter() < end and (data := busy_poll.next())):
                        break
                    awaiting = self._answer(session, data)
            if session.busy:
                self._advance_soon()
        elif self._refusal and self._transport:
            self._transport.write(self._refusal.receive(data))
            if self._refusal.over:
                self._transport.close()
        else:
            self._hold(data)

    def _hold(self, data: bytes) -> None:
        """Keep bytes until a packet is whole; then the client is served, if it can be."""
        self._held += data
        foreign = self._held[0] not in rsp.LEADS or _is_request(self._held)
        # All of it: a page chooses its request's method, which may be a packet.
        for event in self._first.receive(data):
            foreign |= event is rsp.ControlByte.FOREIGN
            self._has_packet |= isinstance(event, rsp.Packet) or event in _BAD_PACKETS
        if foreign:
            _log.warning("disconnecting %s, which does not speak GDB's protocol", self.peer)
            self.abort()
        elif self._has_packet:
            if len(self._held) > _KEPT and self._transport:
                self._transport.pause_reading()
            if not self.try_again():
                self._refuse_soon()
        elif len(self._held) > _KEPT:
            _log.warning("disconnecting %s, whose first packet is too long", self.peer)
            self.abort()

    def try_again(self) -> bool:
        """Begin a session if the client has sent a packet and no other is served; return if so.

        A client that was told that it is refused stays so.
        """
        if self._refusal or not self._has_packet or not self._server.admit(self):
            return False
        self._begin()
        if self._session and self._transport:
            data, self._held = self._held, b""
            self._transport.resume_reading()
            self.data_received(data)
        return True

    def _refuse_soon(self) -> None:
        """Refuse the client in a moment, unless the other one leaves."""
        if not self._timer:
            self._timer = asyncio.get_running_loop().call_later(_ADMISSION_TIMEOUT, self._refuse)

    def _refuse(self) -> None:
        """Refuse a client that has waited long enough, unless nothing but its packet is missing."""
        self._timer = None
        if self.try_again() or not self._server.client or not self._transport:
            return
        _log.warning("turned %s away: one client is served at a time", self.peer)
        self._refusal = Refusal(f"one client is served at a time: {self._server.client} is here")
        self._end_soon(self._transport)
        self._transport.resume_reading()
        data, self._held = self._held, b""
        self.data_received(data)

    def _answer(self, session: Session, data: bytes) -> bool:
        """Send the replies to *data*; return True if the client's next packet is awaited."""
        self._write(session.receive(data))
        if session.at_rest:  # most packets are questions, and the next one comes soon
            return True
        if session.state is _RUNNING and self._writing and self._server.wait_for_stop():
            self._write(session.target_stopped())
        if session.over:
            self.finish()
        return session.state in AWAITING_PACKET and not session.busy

    def target_stopped(self) -> None:
        """Ask the target, which has come to rest or has output."""
        self._stopped = not self._writing
        if self._session and self._writing:
            self._send(self._session.target_stopped())
            self._advance_soon()

    def _advance_soon(self) -> None:
        if self._session and self._session.busy and self._writing and not self._advance_due:
            self._advance_due = True
            loop = asyncio.get_running_loop()
            loop.call_soon(self._advance, loop, loop.time() + _KEEP_ALIVE)

    def _advance(self, loop: asyncio.AbstractEventLoop, silent_until: float) -> None:
        """Do a slice of a packet's work, or answer some packets; then the loop has its turn."""
        self._advance_due = False
        if self._session is None:
            return
        data = self._session.advance()
        if not data and loop.time() >= silent_until:
            data = self._session.keep_alive()
        self._send(data)
        if self._session.busy and self._writing:
            self._advance_due = True
            silent_until = loop.time() + _KEEP_ALIVE if data else silent_until
            loop.call_soon(self._advance, loop, silent_until)

    def _halting_soon(self) -> None:
        if self._session and self._session.state is SessionState.HALTING:
            loop = asyncio.get_running_loop()
            self._halting_timer = loop.call_later(_KEEP_ALIVE, self._halting)

    def _halting(self) -> None:
        """Have a client wait on that came to a running target, which may take long to halt."""
        if self._session and self._writing:
            self._send(self._session.keep_alive())
        self._halting_soon()

    # Nothing is read from a client that does not read its replies, and nothing more is answered.
    def pause_writing(self) -> None:
        """Stop reading: the client does not read (``asyncio.Protocol``)."""
        self._writing = False
        if self._transport:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read on: the client reads again (``asyncio.Protocol``)."""
        self._writing = True
        if self._transport:
            self._transport.resume_reading()
        if self._stopped:
            self.target_stopped()
        self._advance_soon()

    def eof_received(self) -> None:
        """Close, also if the client does not read what it was sent (``asyncio.Protocol``)."""
        if self._transport:
            self._end_soon(self._transport)

    def connection_lost(self, error: Exception | None) -> None:
        """End the session: the connection is closed (``asyncio.Protocol``)."""
        if self._session:
            _log.info("client gone%s", f": {error}" if error else "")
            self._session.close()
        self._busy_poll = None  # its descriptor may be another's from now on
        for timer in (self._timer, self._halting_timer):
            if timer:
                timer.cancel()
        self._server.dismiss(self)
        self.lost.set()
        if self._only or (self._session and self._session.guest_gone):
            self._server.end()

    @property
    def gone(self) -> bool:
        """True if nothing more will come of the client, although its connection stands."""
        if not self.socket:
            return False
        return is_gone(self.socket) or (not self._writing and has_ended(self.socket))

    def finish(self) -> None:
        """End the session, and the connection when all bytes are sent or soon after."""
        if self._session:
            self._session.close()
        if self._transport:
            self._transport.close()
            self._end_soon(self._transport)

    def abort(self) -> None:
        """End the session, and the connection at once."""
        if self._session:
            self._session.close()
        if self._transport:
            self._transport.abort()

    def _end_soon(self, transport: Transport) -> None:
        """Close the connection in a moment, if the client does not read or send anything."""
        if not self._timer:
            self._timer = asyncio.get_running_loop().call_later(_LINGER, transport.abort)

    def _send(self, data: bytes) -> None:
        if self._session:
            self._write(data)
            if self._session.over:
                self.finish()

    def _write(self, data: bytes) -> None:
        if data and (transport := self._busy_poll or self._transport):
            transport.write(data)


def _is_request(beginning: bytes) -> bool:
    """Return True if a connection begins as an HTTP request does, whatever its method and path."""
    if end := re.search(_NO_TOKEN, beginning):
        return end[0] in b" \t\r\n"
    return len(beginning) > _LONGEST_METHOD
