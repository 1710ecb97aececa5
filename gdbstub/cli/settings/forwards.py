"""Port forwards into a lab for the endpoints of ``--gdb``, chosen and checked.

Nothing is forwarded here, and no lab is started.
"""

import contextlib
import logging
import os
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gdbstub.errors import InputError, LabError
from gdbstub.lab.port_forwards import PortForward, StdioForward, TcpForward, UnixForward
from gdbstub.protocol.endpoint import Endpoint, Stdio, Tcp, Unix

if TYPE_CHECKING:
    from gdbstub.lab.host import Lab


#: Interval of the keep-alive bytes; GDB's remotetimeout is 2 seconds by default.
_KEEP_ALIVE_SECONDS: Final = 0.5


class KeepAliveStdioForward(StdioForward):
    """Forward from stdio that keeps GDB waiting while the lab boots.

    GDB sends a packet again after 2 seconds without a byte, and takes the second reply for that
    of its next packet. A byte outside a packet restarts its timeout and is ignored
    (gdb/remote.c, putpkt_binary and getpkt).
    """

    def __init__(self) -> None:
        super().__init__()
        self._open = threading.Event()
        self._thread = threading.Thread(target=self._wait, daemon=True)

    def check(self) -> None:
        """Start to send keep-alive bytes."""
        self._thread.start()

    def open(self, lab: "Lab", port: int) -> tuple[str, int]:
        """Stop the keep-alive bytes, then forward the streams."""
        self._end()
        return super().open(lab, port)

    def close(self) -> None:
        """Stop the keep-alive bytes and the forward."""
        self._end()
        super().close()

    def _end(self) -> None:
        self._open.set()
        if self._thread.is_alive():
            self._thread.join()

    def _wait(self) -> None:
        with contextlib.suppress(OSError):
            while not self._open.wait(_KEEP_ALIVE_SECONDS):
                os.write(sys.stdout.fileno(), b"\n")


def check_forward(endpoint: Endpoint) -> None:
    """Check that *endpoint* can be forwarded into a lab.

    Raises:
        InputError: it cannot.
    """
    if isinstance(endpoint, Tcp):
        # QEMU listens on one address; no other program may listen on the others.
        endpoint.check()
        if not endpoint.has(socket.AF_INET):
            raise InputError(f"{endpoint}: the lab is reached by IPv4 only; give localhost:PORT")
    if not isinstance(endpoint, Stdio):
        try:
            forward_to(endpoint).check()
        except LabError as error:
            raise InputError(f"{error}; choose another with --gdb") from None


def checked_forward(endpoint: Endpoint) -> PortForward:
    """Return the port forward into a lab for *endpoint*, with a warning if others may reach it.

    Raises:
        InputError: it cannot be forwarded.
    """
    check_forward(endpoint)
    if isinstance(endpoint, Tcp) and not endpoint.local:
        logging.getLogger("gdbstub.run").warning(
            "%s: whoever can reach it controls the guest", endpoint
        )
    return forward_to(endpoint)


def forward_to(endpoint: Endpoint) -> PortForward:
    """Return the port forward into a lab for *endpoint*."""
    match endpoint:
        case Tcp(host, port):
            return TcpForward(host, port)
        case Unix(path):
            return UnixForward(Path(path))
        case Stdio():
            return KeepAliveStdioForward()
