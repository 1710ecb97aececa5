"""What every packet means, as functions over a ``Target``.

No byte is framed here and nothing is awaited: a handler returns what is to be sent, or
what is to be set going.
"""

from gdbstub.packets import (
    breakpoints,
    coming_and_going,
    features,
    general,
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
from gdbstub.packets.client import Client, Reply, Work
from gdbstub.packets.console import console
from gdbstub.packets.registry import PACKETS, dispatch, find
from gdbstub.packets.stop import stop_replies

# Importing a subject registers its packets.
SUBJECTS = (
    *(general, registers, memory, memory_tags, search, breakpoints, running, coming_and_going),
    *(threads, features, monitor, lldb, qemu),
)

__all__ = [
    "PACKETS",
    "SUBJECTS",
    "Client",
    "Reply",
    "Work",
    "console",
    "dispatch",
    "find",
    "stop_replies",
]
