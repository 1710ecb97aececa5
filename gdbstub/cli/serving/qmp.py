"""The QMP socket of ``--qmp``: drgn and tools like it read the guest by it while it runs.

``linux.qmp`` has the protocol. Several clients are served at once, beside GDB.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Final, Self

from gdbstub.debug.debugger import Debugger
from gdbstub.errors import MachineError
from gdbstub.linux import vmcoreinfo
from gdbstub.linux.qmp import QmpGuest, QmpSession
from gdbstub.protocol.endpoint import Tcp, Unix, remover
from gdbstub.streams import note

_log = logging.getLogger("gdbstub.run")

#: Number of clients that are served at once.
_CLIENTS: Final = 4
_CHUNK: Final = 64 << 10
_FDS: Final = 4
#: Pause after a client could not be taken, as for want of descriptors: it is still there.
_PAUSE_SECONDS: Final = 1.0


class MachineGuest:
    """The guest of a debugger in this process (``QmpGuest``)."""

    def __init__(self, debugger: Debugger, hva: Callable[[int], int | None]) -> None:
        """Read by *debugger*, which hides breakpoints; *hva* is as ``QmpGuest.hva``."""
        self._debugger = debugger
        self._ipa: int | None = None
        self.hva = hva

    @property
    def ram(self) -> Sequence[range]:
        """Physical addresses of RAM."""
        if (layout := self._debugger.machine.capabilities.layout) is None:
            raise MachineError("this machine does not say where its RAM is")
        return layout.ram_ranges

    @property
    def running(self) -> bool:
        """True while the guest runs."""
        return self._debugger.running

    def read(self, ipa: int, length: int) -> bytes:
        """Read RAM, short at its end."""
        return self._debugger.read_physical(ipa, length)

    def vmcoreinfo(self) -> bytes:
        """Return the kernel's VMCOREINFO, where it was before or by a search of all RAM."""
        found = None if self._ipa is None else vmcoreinfo.read_at(self._ipa, self.read)
        if found is None:
            found = vmcoreinfo.find(self.ram, self.read)
            self._ipa = found.ipa
        return found.text


class QmpServer:
    """Server of one guest by QMP, on the running event loop; an asynchronous context."""

    def __init__(self, endpoint: Unix | Tcp, guest: QmpGuest) -> None:
        """Open nothing yet."""
        self._endpoint = endpoint
        self._guest = guest
        self._sockets: list[socket.socket] = []
        self._clients: list[_Client] = []  # the oldest first
        self._remove: Callable[[], None] = lambda: None

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            InputError: the socket cannot be made.
        """
        match self._endpoint:
            case Unix() as unix:
                self._sockets = [unix.bind()]
                self._remove = remover(unix.path)
            case Tcp() as tcp:
                self._endpoint, self._sockets = tcp.bind()
                note(f"QMP on {self._endpoint}")
        for each in self._sockets:
            each.setblocking(False)
            self._listen(each)
        return self

    def _listen(self, listener: socket.socket) -> None:
        if listener.fileno() >= 0:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    async def __aexit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for each in self._sockets:
            loop.remove_reader(each)
            each.close()
        for client in [*self._clients]:
            client.close()
        self._remove()

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return
        except OSError as error:
            _log.warning("--qmp: cannot take a client yet: %s", error.strerror)
            loop = asyncio.get_running_loop()
            loop.remove_reader(listener)
            loop.call_later(_PAUSE_SECONDS, self._listen, listener)
            return
        if len(self._clients) >= _CLIENTS and (silent := self._silent()):
            silent.close()
        if len(self._clients) >= _CLIENTS:
            _log.warning("--qmp: turned a client away: %d are served at once", _CLIENTS)
            connection.close()
            return
        self._clients.append(_Client(connection, QmpSession(self._guest), self._clients))

    def _silent(self) -> "_Client | None":
        """Return the oldest client that has not negotiated, and so has no place of its own."""
        return next((each for each in self._clients if not each.negotiated), None)


class _Client:
    """One connection: one command at a time, and nothing is read while a reply is not taken."""

    def __init__(
        self, connection: socket.socket, session: QmpSession, clients: "list[_Client]"
    ) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._session = session
        self._clients = clients
        self._loop = asyncio.get_running_loop()
        self._unsent = session.greeting
        self._ended = self._reading = self._writing = self._due = False
        self._soon()

    @property
    def negotiated(self) -> bool:
        """True if the client has shown that it speaks QMP."""
        return self._session.negotiated

    def _soon(self) -> None:
        if not self._due:
            self._due = True
            self._loop.call_soon(self._go_on)

    def _receive(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(
                self._connection, _CHUNK, _FDS, socket.MSG_CMSG_CLOEXEC
            )
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        self._session.receive(data, fds)
        self._ended = not data
        self._soon()

    def _go_on(self) -> None:
        """Send what is to be sent, or else execute a command; then let others have their turn."""
        self._due = False
        if self._connection.fileno() < 0:
            return
        if self._unsent:
            try:
                self._unsent = self._unsent[self._connection.send(self._unsent) :]
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                self.close()
                return
        busy = False
        if not self._unsent:
            self._unsent = self._session.advance() or b""
            if busy := bool(self._unsent) or self._session.busy:
                self._soon()
        if self._session.over or (self._ended and not self._unsent and not busy):
            self.close()
            return
        room = not self._ended and not self._unsent and not self._session.full
        self._await(reading=room, writing=bool(self._unsent))

    def _await(self, *, reading: bool, writing: bool) -> None:
        if reading is not self._reading:
            if reading:
                self._loop.add_reader(self._connection, self._receive)
            else:
                self._loop.remove_reader(self._connection)
            self._reading = reading
        if writing is not self._writing:
            if writing:
                self._loop.add_writer(self._connection, self._go_on)
            else:
                self._loop.remove_writer(self._connection)
            self._writing = writing

    def close(self) -> None:
        """End the connection."""
        if self._connection.fileno() >= 0:
            self._await(reading=False, writing=False)
            self._connection.close()
            self._session.close()
            self._clients.remove(self)
