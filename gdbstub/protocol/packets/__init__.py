"""Packets: a handler each, over a ``Target``.

Handlers frame no bytes and await nothing: they return a reply, a resume, or work to do.
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
from gdbstub.protocol.packets.client_state import ClientState, PacketCache, Reply, Work
from gdbstub.protocol.packets.console import console
from gdbstub.protocol.packets.registry import PACKETS, PacketDefinition, dispatch, find
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
    "PacketCache",
    "PacketDefinition",
    "Reply",
    "Work",
    "console",
    "dispatch",
    "find",
    "stop_replies",
]
