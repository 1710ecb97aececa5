"""The ways into the lab for a debugger: a TCP port, a Unix socket, or this process's own streams.

No byte passes through this process: QEMU carries TCP, ssh the rest.
"""

import os
import socket
import subprocess
from pathlib import Path
from typing import Protocol

from gdbstub.errors import LabError
from gdbstub.lab import qemu, ssh
from gdbstub.lab.host import Lab


class PortForward(Protocol):
    """One way in."""

    def check(self) -> None:
        """Raise a ``LabError`` now if ``open`` would surely fail later."""
        ...

    def open(self, lab: Lab, port: int) -> tuple[str, int]:
        """Lead to *port* in the lab; return the address to show, and a local port or 0."""
        ...

    def close(self) -> None:
        """Let nobody in any more. Idempotent."""
        ...


class TcpForward:
    """A TCP port of this machine (0: any free one); IPv4, for QEMU forwards no other."""

    def __init__(self, host: str, port: int) -> None:
        """Remember what was asked for; nothing is bound yet."""
        self.host = host
        self.port = port
        self._address = ""
        self._lab: Lab | None = None

    def check(self) -> None:
        """See whether the address is ours and the port is free."""
        try:
            self._address = "127.0.0.1" if self.host == "localhost" else resolve(self.host)
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((self._address, self.port))
                probe.listen()
        except OSError as error:
            raise LabError(f"cannot listen on {self.host}:{self.port}: {error.strerror}") from None

    def open(self, lab: Lab, port: int) -> tuple[str, int]:
        """Have QEMU listen."""
        self.port = lab.forward(port, self._address, self.port)
        self._lab = lab
        return f"{self.host}:{self.port}", self.port

    def close(self) -> None:
        """Have QEMU stop listening."""
        if self._lab:
            self._lab.unforward(self.port, self._address)
            self._lab = None


def resolve(host: str) -> str:
    """Return the IPv4 address of *host*; raise ``OSError`` if it has none."""
    found = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
    return str(found[0][4][0])


class UnixForward:
    """A Unix socket, for its owner alone; ssh listens on it."""

    def __init__(self, path: Path) -> None:
        """Remember the path; nothing is made yet."""
        self.path = path
        self._process: subprocess.Popen[bytes] | None = None

    def check(self) -> None:
        """See whether the socket can be made; one that nobody listens on is removed."""
        where = f"unix:{self.path}"
        if len(os.fsencode(self.path.absolute())) > 100:
            raise LabError(f"{where}: the path of a socket has at most 100 bytes")
        if not os.access(self.path.absolute().parent, os.W_OK | os.X_OK):
            raise LabError(f"cannot make {where}: its directory is absent or not writable")
        if self.path.is_socket():
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                try:
                    probe.connect(str(self.path))
                except OSError:
                    self.path.unlink()
                else:
                    raise LabError(f"{where} is in use: another program listens there")
        elif self.path.exists():
            raise LabError(f"{self.path} exists and is no socket")

    def open(self, lab: Lab, port: int) -> tuple[str, int]:
        """Have ssh listen on the socket."""
        forward = f"{self.path.absolute()}:{qemu.ADDRESS}:{port}"
        self._process = ssh.hold(lab.directory, "-oExitOnForwardFailure=yes", "-L", forward)
        return f"unix:{self.path}", 0

    def close(self) -> None:
        """End ssh and remove the socket."""
        if self._process:
            self._process.terminate()
            self._process.communicate()
            self._process = None
            self.path.unlink(missing_ok=True)


class StdioForward:
    """Standard input and output, for GDB's ``target remote | command``."""

    def __init__(self) -> None:
        """Touch nothing yet."""
        self._process: subprocess.Popen[bytes] | None = None

    def check(self) -> None:
        """Nothing can be wrong before there is a lab."""

    def open(self, lab: Lab, port: int) -> tuple[str, int]:
        """Hand this process's standard input and output to ssh."""
        argv = ssh.client(lab.directory, "-W", f"{qemu.ADDRESS}:{port}")
        self._process = subprocess.Popen(argv, start_new_session=True)
        return "stdio", 0

    def wait(self) -> None:
        """Wait until either side has ended the conversation."""
        if self._process:
            self._process.wait()

    def close(self) -> None:
        """End ssh."""
        if self._process:
            self._process.terminate()
            self._process.wait()
