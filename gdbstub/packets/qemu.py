"""QEMU's packets for physical addresses, which its users know.

Only memory packets obey the mode: breakpoints and watchpoints stay where the guest executes.
"""

from gdbstub.packets.client import Client
from gdbstub.packets.registry import packet
from gdbstub.target import AddressSpace


@packet("qqemu.Supported")
def supported(client: Client) -> bytes:
    """``qqemu.Supported``: which of QEMU's packets there are (GDB manual, E.4, vendor prefixes)."""
    return b"PhyMemMode"


@packet("qqemu.PhyMemMode")
def physical(client: Client) -> bytes:
    """``qqemu.PhyMemMode``: 1 if addresses are physical (GDB manual, E.4, vendor prefixes)."""
    return b"%d" % (client.space is AddressSpace.PHYSICAL)


@packet("Qqemu.PhyMemMode:", "n")
def set_physical(client: Client, n: int) -> bytes:
    """``Qqemu.PhyMemMode:n``: addresses are physical from now on, or virtual where *n* is 0.

    Of the packets ``m M x X qSearch qCRC`` (GDB manual, E.4, vendor prefixes).
    """
    client.space = AddressSpace.PHYSICAL if n else AddressSpace.VIRTUAL
    return b"OK"
