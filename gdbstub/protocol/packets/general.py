"""Packets about the conversation itself.

Nothing here touches the guest.
"""

from gdbstub.capabilities import Relocatable, relocatable
from gdbstub.protocol.packets.client_state import ClientState
from gdbstub.protocol.packets.registry import offered, packet


@packet("qSupported", "[:features]", idle=True)
def supported(client: ClientState, features: bytes | None) -> bytes:
    """``qSupported[:feature;…]``: learn the client's features, tell ours (GDB manual, E.4).

    Ours follow from what is registered and what the target has. A client may ask again; the
    last word counts.
    """
    words = (features or b"").split(b";")
    client.features = frozenset(word[:-1] for word in words if word.endswith(b"+"))
    ours = dict.fromkeys(offered(client.target))
    if b"memory-tagging" in client.features and b"error-message" not in client.features:
        # GDB before 16 knows tags of Linux processes only, and ends at an x/xm of anything else.
        ours.pop(b"memory-tagging+", None)
    return b";".join((b"PacketSize=%x" % client.packet_size, *ours))


@packet("QStartNoAckMode", feature="QStartNoAckMode+", idle=True)
def no_ack_mode(client: ClientState) -> bytes:
    """``QStartNoAckMode``: neither side acknowledges from now on (GDB manual, E.11)."""
    client.acks = False
    return b"OK"


@packet("qSymbol", ":…", idle=True)
def symbol(client: ClientState) -> bytes:
    """``qSymbol::``: the client offers to look up symbols; we want none (GDB manual, E.4)."""
    return b"OK"


@packet("qOffsets", needs=relocatable)
def offsets(client: ClientState, program: Relocatable) -> bytes:
    """``qOffsets``: how far the program is from where it was linked (GDB manual, E.4).

    GDB moves all of it by where the first segment is, and by sections not all. LLDB takes
    whatever it is told for the distance. None is told as such to both: it leaves alone what a
    client has loaded that is another program.
    """
    if (place := program.relocation()) is None:
        return b""
    if client.lldb or not place.offset:
        return b"Text=%x;Data=%x;Bss=%x" % (3 * (place.offset,))
    return b"TextSeg=%x" % (place.start + place.offset)
