"""Packets about the conversation itself.

None of them touches the guest.
"""

from typing import Final

from gdbstub.capabilities import Relocatable, monitor_commands, relocatable
from gdbstub.protocol.packets.client_state import GUEST, ClientState
from gdbstub.protocol.packets.registry import offered, packet

_NAMES_PROCESSES: Final = frozenset((b"multiprocess", b"memory-tagging"))


@packet("qSupported", "[:features]", without_guest=True)
def supported(client: ClientState, features: bytes | None) -> bytes:
    """``qSupported[:feature;…]``: learn the client's features, tell ours (GDB manual, E.4).

    Ours follow from the packets that are registered and from the target's capabilities. If a client
    sends the packet again, its last features count.

    GDB from 12 on gets process ids where it finds the OS ABI itself: without them, ``record full``
    ends a GDB before 18.
    """
    words = (features or b"").split(b";")
    client.features = frozenset(word[:-1] for word in words if word.endswith(b"+"))
    if target := monitor_commands(client.target):
        target.client_announced(client.features)
    ours = dict.fromkeys(offered(client.target))
    named = not client.architecture.osabi and _NAMES_PROCESSES <= client.features
    client.process = GUEST if named else 0
    if named:
        ours[b"multiprocess+"] = None
    if b"memory-tagging" in client.features and b"error-message" not in client.features:
        # GDB before 16 knows tags of Linux processes only, and ends at an x/xm of anything else.
        ours.pop(b"memory-tagging+", None)
    return b";".join((b"PacketSize=%x" % client.packet_size, *ours))


@packet("QStartNoAckMode", feature="QStartNoAckMode+", without_guest=True)
def no_ack_mode(client: ClientState) -> bytes:
    """``QStartNoAckMode``: neither side acknowledges from now on (GDB manual, E.11)."""
    client.acks = False
    return b"OK"


@packet("qSymbol", ":…", without_guest=True)
def symbol(client: ClientState) -> bytes:
    """``qSymbol::``: the client offers to look up symbols; none is wanted (GDB manual, E.4)."""
    return b"OK"


@packet("qOffsets", needs=relocatable)
def offsets(client: ClientState, program: Relocatable) -> bytes:
    """``qOffsets``: tell the distance of the program from its link address (GDB manual, E.4).

    GDB is told the place of the first segment, by which it moves the whole program; told offsets of
    sections, it would not move all of them. LLDB takes any value for the distance.

    Where nothing has moved, the reply is empty. So is the second one since the guest was started
    or attached to: GDB asks once, and by an empty one gef tells a whole machine from a program.
    """
    if (place := program.relocation()) is None or not place.offset:
        return b""
    if client.lldb:
        return b"Text=%x;Data=%x;Bss=%x" % (3 * (place.offset,))
    if client.relocation_told:
        return b""
    client.relocation_told = True
    return b"TextSeg=%x" % (place.start + place.offset)
