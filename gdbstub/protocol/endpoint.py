"""Where the stub listens: as ``--gdb`` spells it, and as bound sockets.

It accepts no client and reads nothing; ``server.py`` does.
"""

import errno
import ipaddress
import os
import socket
import stat
from contextlib import suppress
from typing import Final, NamedTuple

from gdbstub.errors import InputError

# localhost is these, whatever the hosts file says; a client may try either first.
_LOOPBACK: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
# A host may lack one of the two families, or know it and have no such address.
_ABSENT: Final = frozenset((errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL))


class Tcp(NamedTuple):
    """``HOST:PORT``; port 0 is whichever is free."""

    host: str
    port: int
    #: Only somebody trusted can reach the address, whatever it looks like.
    guarded: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def local(self) -> bool:
        """Whether only this machine's users can reach it."""
        if self.guarded:
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"  # another name may mean anything

    def bind(self) -> tuple["Tcp", list[socket.socket]]:
        """Bind every address of the host, with one port; return also what that port is.

        Raises:
            InputError: the host does not exist, or the port is in use or refused.
        """
        for _ in range(8):
            sockets: list[socket.socket] = []
            try:
                port = self._bind(sockets)
            except UnicodeError:  # of a part longer than a name server takes
                raise InputError(f"no host is called {self.host}: the name is no name") from None
            except OSError as error:
                for each in sockets:
                    each.close()
                if error.errno == errno.EADDRINUSE and not self.port:
                    continue  # free on one address, taken on another
                raise self._refused(error) from None
            return self._replace(port=port), sockets
        raise InputError(f"no port is free on all addresses of {self.host}")

    def check(self) -> None:
        """Raise now what ``bind`` would raise; nothing stays bound."""
        for each in self.bind()[1]:
            each.close()

    def has(self, family: socket.AddressFamily) -> bool:
        """Whether one of the host's addresses is of this *family*.

        Raises:
            OSError: the host does not exist.
        """
        return any(each == family for each, _ in self._addresses())

    def _bind(self, sockets: list[socket.socket]) -> int:
        port = self.port
        absent: OSError | None = None
        for family, address in self._addresses():
            try:
                sockets.append(_listener(family, (address, port)))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error
            else:
                port = sockets[-1].getsockname()[1]
        if not sockets and absent:
            raise absent
        return port

    def _addresses(self) -> list[tuple[int, str]]:
        if self.host == "localhost":
            return list(_LOOPBACK)
        # A str would be encoded by IDNA whatever it is, and to import that takes 5 ms.
        host = self.host.encode() if self.host.isascii() else self.host
        found = socket.getaddrinfo(host, self.port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys((row[0], str(row[4][0])) for row in found))

    def _refused(self, error: OSError) -> InputError:
        if isinstance(error, socket.gaierror):
            return InputError(f"no host is called {self.host}: {error.strerror}")
        if error.errno == errno.EADDRINUSE:
            why = "is in use: another program listens there"
        else:
            why = f"cannot be listened on: {error.strerror}"
        return InputError(f"{self} {why}; choose another, or port 0 for a free one")


def _listener(family: int, address: tuple[str, int]) -> socket.socket:
    # asyncio turns Nagle's algorithm off only where the protocol is named.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Clients inherit it: one whose machine died does not keep others out for ever.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen()  # only now is it certain that the port is ours
    except OSError:
        listener.close()
        raise
    return listener


class Unix(NamedTuple):
    """``unix:PATH``, a socket in the file system."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"

    def bind(self) -> socket.socket:
        """Make the socket, for its owner alone; one that nobody listens on is replaced.

        Raises:
            InputError: the path cannot be used, or somebody listens there.
        """
        self._clear()
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            bound.bind(self.path)
            # Nobody can connect between the two calls: that takes a listener.
            os.chmod(self.path, 0o600)
            bound.listen()
        except OSError as error:
            bound.close()
            why = error.strerror or str(error)
            raise InputError(f"{self} cannot be listened on: {why}") from None
        return bound

    def check(self) -> None:
        """Raise now what ``bind`` would raise; nothing is left but a stale socket removed."""
        with self.bind():
            os.unlink(self.path)

    def _clear(self) -> None:
        """Remove a socket that a dead process left behind."""
        try:
            mode = os.lstat(self.path).st_mode
        except OSError:
            return  # most likely absent; if not, bind will say
        if not stat.S_ISSOCK(mode):
            raise InputError(f"{self.path} exists and is no socket; choose another path")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(self.path)
            except ConnectionRefusedError:
                with suppress(OSError):
                    os.unlink(self.path)
            except OSError:
                pass  # bind will say
            else:
                raise InputError(f"{self} is in use: another program listens there")


class Stdio:
    """``stdio``: standard input and output, for GDB's ``target remote | command``."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stdio)

    def __hash__(self) -> int:
        return hash(Stdio)

    def __str__(self) -> str:
        return "stdio"

    def check(self) -> None:
        """Nothing can be in use; the server looks at what the two streams are."""


Endpoint = Tcp | Unix | Stdio


def parse_endpoint(text: str, name: str = "--gdb") -> Endpoint:
    """Read what *name* was given; ``:PORT`` is ``localhost:PORT``.

    Raises:
        InputError: it is none of the forms.
    """
    if text == "stdio":
        return Stdio()
    if text.startswith("unix:"):
        if not (path := text.removeprefix("unix:")) or "\0" in path:
            raise _bad(name, text, "a path")
        return Unix(path)
    host, colon, port = text.rpartition(":")
    if not colon:
        raise _bad(name, text, "a port")
    if not (port.isascii() and port.isdigit() and int(port[:6]) < 1 << 16 and len(port) < 6):
        raise _bad(name, text, "a port from 0 to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host:
            raise _bad(name, text, "an IPv6 address in the brackets")
    elif ":" in host:
        raise _bad(name, text, "brackets round an IPv6 address")
    if any(character.isspace() or character in "[]/\0" for character in host):
        raise _bad(name, text, "a host")
    return Tcp(host or "localhost", int(port))


def _bad(name: str, text: str, missing: str) -> InputError:
    return InputError(f"{name} {text!r} lacks {missing}; expected HOST:PORT, unix:PATH or stdio")
