"""QEMU's packets for physical addresses.

Only memory packets obey the mode: breakpoints and watchpoints are always at virtual addresses.
"""

from gdbstub.capabilities import PhysicalMemory, physical_memory
from gdbstub.protocol.packets.client_state import ClientState
from gdbstub.protocol.packets.registry import packet


@packet("qqemu.Supported", needs=physical_memory)
def supported(client: ClientState, memory: PhysicalMemory) -> bytes:
    """``qqemu.Supported``: list QEMU's known packets (GDB manual, E.4, vendor prefixes)."""
    return b"PhyMemMode"


@packet("qqemu.PhyMemMode", needs=physical_memory)
def physical(client: ClientState, memory: PhysicalMemory) -> bytes:
    """``qqemu.PhyMemMode``: say 1 if addresses are physical (GDB manual, E.4, vendor prefixes)."""
    return b"%d" % (client.physical is not None)


@packet("Qqemu.PhyMemMode:", "n", needs=physical_memory)
def set_physical(client: ClientState, memory: PhysicalMemory, n: int) -> bytes:
    """``Qqemu.PhyMemMode:n``: addresses are physical from now on, or virtual where *n* is 0.

    Of the packets ``m M x X qSearch qCRC`` (GDB manual, E.4, vendor prefixes).
    """
    client.physical = memory if n else None
    return b"OK"
