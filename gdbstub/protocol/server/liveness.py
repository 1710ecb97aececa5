"""Signs of a client that is gone although its connection stands, as the kernel knows them.

It closes nothing: the listener does, when another client comes.
"""

import select
import socket
import struct
from typing import Final

from gdbstub.protocol.endpoint import KEEPALIVE_SECONDS

#: Linux's struct tcp_info: tcpi_retransmits, tcpi_probes and tcpi_last_ack_recv (in milliseconds).
_TCP_INFO: Final = struct.Struct("=2xBB48xI")


def unheard_seconds(connection: socket.socket) -> float:
    """Return the time since the peer's machine acknowledged anything; 0 if it owes nothing.

    A client whose machine is gone is sent its data again for a quarter of an hour, and no
    keep-alive probe meanwhile. One that is alive and does not read acknowledges probes.
    """
    if connection.family == socket.AF_UNIX:
        return 0.0
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        retransmits, probes, last = _TCP_INFO.unpack(info)
    except (OSError, struct.error):
        return 0.0
    return float(last) / 1000 if max(retransmits, probes) > 1 else 0.0


def is_gone(connection: socket.socket) -> bool:
    """Return True if the peer's machine is gone."""
    return unheard_seconds(connection) > KEEPALIVE_SECONDS


def has_ended(connection: socket.socket) -> bool:
    """Return True if the peer sends nothing more, also if there are bytes to read before that."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLRDHUP)
    return bool(poll.poll(0))
