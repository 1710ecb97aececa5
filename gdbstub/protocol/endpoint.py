"""Endpoints that the stub listens on: as ``--gdb`` takes them, and as bound sockets.

It accepts no client and reads nothing: the package ``server`` does.
"""

import errno
import fcntl
import ipaddress
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from gdbstub.errors import InputError

# Addresses of localhost, whatever the hosts file says. A client may try either first.
_LOOPBACK: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
# Keep-alive probes of a client that is silent: after 5 s, every 2 s, and three in vain.
_IDLE, _INTERVAL, _PROBES = 5, 2, 3
#: Time in which a client is noticed whose machine is gone, in seconds.
KEEPALIVE_SECONDS: Final = _IDLE + _INTERVAL * _PROBES
#: Longest wait for a lock on the directory of a socket, in seconds.
_LOCK_SECONDS: Final = 1.0
# Errors of a host that lacks one of the two families, or has no such address in it.
_ABSENT: Final = frozenset((errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL))


class Tcp(NamedTuple):
    """Endpoint ``HOST:PORT``; with port 0 a free port is chosen."""

    host: str
    port: int
    #: True if only trusted users can reach the address, although it is not a loopback address.
    guarded: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def local(self) -> bool:
        """True if only this machine's users can reach it."""
        if self.guarded:
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"  # another name may be of any address

    def bind(self) -> tuple["Tcp", list[socket.socket]]:
        """Bind every address of the host with one port; return the endpoint with that port, too.

        Raises:
            InputError: the host does not exist, or the port is in use or refused.
        """
        for _ in range(8):
            sockets: list[socket.socket] = []
            try:
                port = self._bind(sockets)
            except UnicodeError:  # a part is longer than a name server takes
                raise InputError(
                    f"no host is called {self.host}: a part is empty or longer than 63 characters"
                ) from None
            except OSError as error:
                for each in sockets:
                    each.close()
                if error.errno == errno.EADDRINUSE and not self.port:
                    continue  # free on one address, taken on another
                raise self._refused(error) from None
            return self._replace(port=port), sockets
        raise InputError(f"no port is free on all addresses of {self.host}; give a port")

    def check(self) -> None:
        """Raise the error that ``bind`` would raise; nothing stays bound."""
        for each in self.bind()[1]:
            each.close()

    def has(self, family: socket.AddressFamily) -> bool:
        """Return True if one of the host's addresses is of *family*.

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
        # A str is always encoded by IDNA, whose import takes 5 ms.
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
        # Clients' sockets inherit these: one whose machine has died does not keep others out.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _INTERVAL)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen()  # another listener on the port is an error only here
    except OSError:
        listener.close()
        raise
    return listener


class Unix(NamedTuple):
    """Endpoint ``unix:PATH``, a socket in the file system."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"

    def bind(self) -> socket.socket:
        """Make the socket, for its owner alone. A stale socket at the path is replaced.

        Raises:
            InputError: the path cannot be used, or a program listens there.
        """
        # A socket that is bound, and not yet listened on, looks as one that was left behind.
        with _locked(os.path.dirname(self.path) or ".") as alone:
            self._clear(alone=alone)
            bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                os.fchmod(bound.fileno(), 0o600)  # the mode that it gets in the file system
                bound.bind(self.path)
                bound.listen()
            except OSError as error:
                bound.close()
                why = error.strerror or str(error)
                raise InputError(f"{self} cannot be listened on: {why}") from None
            return bound

    def check(self) -> None:
        """Raise the error that ``bind`` would raise. Nothing stays; a stale socket is removed."""
        with self.bind():
            os.unlink(self.path)

    def _clear(self, *, alone: bool) -> None:
        """Remove the stale socket of a process of this user that has ended, if *alone*."""
        try:
            found = os.lstat(self.path)
        except OSError:
            return  # most likely absent; if not, bind fails
        if not stat.S_ISSOCK(found.st_mode):
            raise InputError(f"{self.path} exists and is no socket; choose another path")
        if found.st_uid != os.geteuid():
            raise InputError(f"{self.path} is another user's socket; choose another path")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(self.path)
            except ConnectionRefusedError:
                if not alone:
                    raise InputError(
                        f"{self} is there, and another process is making a socket in its directory "
                        "(or has locked that): try again, or choose another path"
                    ) from None
                with suppress(OSError):
                    if os.path.samestat(os.lstat(self.path), found):
                        os.unlink(self.path)
            except OSError:
                pass  # bind fails
            else:
                raise InputError(f"{self} is in use: another program listens there")


@contextmanager
def _locked(directory: str) -> Iterator[bool]:
    """Lock *directory* against other stubs that make a socket; give False if one has it for long.

    Anybody who may read the directory can lock it, so it is not waited for without end.
    """
    try:
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield False  # absent, or not to be read
        return
    try:
        yield _lock(lock)
    finally:
        os.close(lock)


def _lock(lock: int) -> bool:
    end = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > end:
                return False
            time.sleep(_LOCK_SECONDS / 100)
        else:
            return True


def remover(path: str) -> Callable[[], None]:
    """Return a function that removes the socket that is at *path* now, and none put there since.

    Raises:
        OSError: there is nothing.
    """
    ours = os.lstat(path)

    def remove() -> None:
        with suppress(OSError):
            if os.path.samestat(os.lstat(path), ours):
                os.unlink(path)

    return remove


class Stdio:
    """Endpoint ``stdio``: standard input and output, for GDB's ``target remote | command``."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stdio)

    def __hash__(self) -> int:
        return hash(Stdio)

    def __str__(self) -> str:
        return "stdio"

    def check(self) -> None:
        """Do nothing: the server checks the two streams."""


Endpoint = Tcp | Unix | Stdio

_FORMS: Final = "expected HOST:PORT, unix:PATH or stdio"
#: Characters of an IPv6 address, and the bracket before one.
_IN_IPV6: Final = frozenset("0123456789abcdefABCDEF:.[")


def parse_endpoint(text: str, name: str = "--gdb") -> Endpoint:
    """Parse the value *text* of the option *name*; ``:PORT`` is ``localhost:PORT``.

    Raises:
        InputError: *text* has none of the forms.
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
        if set(host.partition("%")[0]) <= _IN_IPV6:
            raise _bad(name, text, "brackets round an IPv6 address")
        raise InputError(f"{name} {text!r} has a colon in its host; {_FORMS}")
    if any(character.isspace() or character in "[]/\0" for character in host):
        raise _bad(name, text, "a host")
    return Tcp(host or "localhost", int(port))


def _bad(name: str, text: str, missing: str) -> InputError:
    return InputError(f"{name} {text!r} lacks {missing}; {_FORMS}")
