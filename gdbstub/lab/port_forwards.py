"""Port forwards into the lab for a debugger: from a TCP port, a Unix socket, or stdio.

No byte is copied by this process: QEMU forwards TCP ports, and ssh the rest.
"""

import os
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gdbstub.errors import InputError, LabError
from gdbstub.lab import qemu, ssh
from gdbstub.protocol.endpoint import Unix, remover

if TYPE_CHECKING:
    from collections.abc import Callable

    from gdbstub.lab.host import Lab


class PortForward(Protocol):
    """Interface of a forward from an endpoint of this machine to a TCP port of the lab."""

    def check(self) -> None:
        """Check that ``open`` can succeed; nothing is opened.

        Raises:
            LabError: it cannot.
        """
        ...

    def open(self, lab: "Lab", port: int) -> tuple[str, int]:
        """Forward to *port* in the lab; return the address to show, and the local port or 0.

        Raises:
            LabError: the forward cannot be opened.
        """
        ...

    def close(self) -> None:
        """End the forward. Idempotent."""
        ...


class TcpForward:
    """Forward from a TCP port of this machine (0: any free one), by QEMU: IPv4 only."""

    def __init__(self, host: str, port: int) -> None:
        """Store the address; nothing is bound yet."""
        self.host = host
        self.port = port
        self._address = ""
        self._lab: Lab | None = None

    def check(self) -> None:
        """Check that the address is this machine's and that the port is free."""
        try:
            self._address = "127.0.0.1" if self.host == "localhost" else resolve(self.host)
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((self._address, self.port))
                probe.listen()
        except OSError as error:
            raise LabError(f"cannot listen on {self.host}:{self.port}: {error.strerror}") from None

    def open(self, lab: "Lab", port: int) -> tuple[str, int]:
        """Make QEMU listen."""
        self.port = lab.forward(port, self._address, self.port)
        self._lab = lab
        return f"{self.host}:{self.port}", self.port

    def close(self) -> None:
        """Make QEMU stop listening."""
        if self._lab:
            self._lab.unforward(self.port, self._address)
            self._lab = None


def resolve(host: str) -> str:
    """Return the IPv4 address of *host*.

    Raises:
        OSError: it has none.
    """
    found = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
    return str(found[0][4][0])


class UnixForward:
    """Forward from a Unix socket of this user, by ssh."""

    def __init__(self, path: Path) -> None:
        """Store the path; nothing is created yet."""
        self.path = path
        self._process: subprocess.Popen[bytes] | None = None
        self._remove: Callable[[], None] = lambda: None

    def check(self) -> None:
        """Check that the socket can be created; remove a socket that nobody listens on."""
        where = f"unix:{self.path}"
        if (length := len(os.fsencode(self.path.absolute()))) > 100:
            raise LabError(
                f"{where}: the path of a socket has at most 100 bytes, and this one has {length}"
            )
        if not os.access(self.path.absolute().parent, os.W_OK | os.X_OK):
            raise LabError(f"cannot create {where}: its directory is absent or not writable")
        try:
            Unix(str(self.path.absolute())).check()
        except InputError as error:
            raise LabError(str(error)) from None

    def open(self, lab: "Lab", port: int) -> tuple[str, int]:
        """Make ssh listen on the socket."""
        forward = f"{self.path.absolute()}:{qemu.ADDRESS}:{port}"
        self._process = ssh.hold(lab.directory, "-oExitOnForwardFailure=yes", "-L", forward)
        self._remove = remover(str(self.path))
        return f"unix:{self.path}", 0

    def close(self) -> None:
        """End ssh and remove the socket."""
        if self._process:
            self._process.terminate()
            self._process.communicate()
            self._process = None
            self._remove()


class StdioForward:
    """Forward from standard input and output, for GDB's ``target remote | command``."""

    def __init__(self) -> None:
        """Prepare a forward that is not open yet."""
        self._process: subprocess.Popen[bytes] | None = None

    def check(self) -> None:
        """Accept: nothing can be checked before the lab is up."""

    def open(self, lab: "Lab", port: int) -> tuple[str, int]:
        """Give this process's standard input and output to ssh."""
        argv = ssh.client(lab.directory, "-W", f"{qemu.ADDRESS}:{port}")
        self._process = subprocess.Popen(argv, start_new_session=True)
        return "stdio", 0

    def wait(self) -> None:
        """Wait until either side has closed the connection."""
        if self._process:
            self._process.wait()

    def close(self) -> None:
        """End ssh."""
        if self._process:
            self._process.terminate()
            self._process.wait()
