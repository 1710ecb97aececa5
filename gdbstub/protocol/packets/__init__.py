"""What every packet means, as functions over a ``Target``.

No byte is framed here and nothing is awaited: a handler returns what is to be sent, or
what is to be set going.
"""

from gdbstub.protocol.packets import (
    breakpoints,
    features,
    general,
    lifecycle,
    lldb,
    memory,
    memory_tags,
    monitor,
    qemu,
    registers,
    running,
    search,
    threads,
)
from gdbstub.protocol.packets.client_state import ClientState, Reply, Work
from gdbstub.protocol.packets.console import console
from gdbstub.protocol.packets.registry import PACKETS, dispatch, find
from gdbstub.protocol.packets.stop import stop_replies

# Importing a subject registers its packets.
SUBJECTS = (
    *(general, registers, memory, memory_tags, search, breakpoints, running, lifecycle),
    *(threads, features, monitor, lldb, qemu),
)

__all__ = [
    "PACKETS",
    "SUBJECTS",
    "ClientState",
    "Reply",
    "Work",
    "console",
    "dispatch",
    "find",
    "stop_replies",
]
