"""Packets about memory tags (FEAT_MTE2), for targets that have them.

A tag is a byte here, of which MTE uses four bits, and belongs to a granule of 16 bytes.
"""

from typing import Final

from gdbstub.aarch64.mte import GRANULE, LARGEST_TAG, granules
from gdbstub.errors import MemoryFault, PacketError
from gdbstub.protocol.packets.client_state import ClientState
from gdbstub.protocol.packets.registry import packet
from gdbstub.target import MemoryTags, memory_tags

#: The tags of memory; those of pointers are in the pointers (GDB manual, E.5.1.2).
_ALLOCATION: Final = 1


@packet("qMemTags", ":addr,length:n", feature="memory-tagging+", needs=memory_tags)
def read(client: ClientState, tags: MemoryTags, gva: int, length: int, kind: int) -> bytes:
    """``qMemTags:start address,length:type``: read tags, a byte each (GDB manual, E.4)."""
    places = _granules(gva, length, kind)
    if 2 * len(places) >= client.packet_size:
        raise PacketError(f"{len(places)} tags are more than fit in a packet")
    found = tags.read(client.general, places.start, len(places)) if places else b""
    return b"m" + found.hex().encode()


@packet("QMemTags", ":addr,length:n:XX…", needs=memory_tags)
def write(
    client: ClientState, tags: MemoryTags, gva: int, length: int, kind: int, pattern: bytes
) -> bytes:
    """``QMemTags:start address,length:type:tag bytes``: write tags (GDB manual, E.4).

    Fewer tags than granules are repeated, tags beyond them are ignored.
    """
    places = _granules(gva, length, kind)
    if any(tag > LARGEST_TAG for tag in pattern):
        raise PacketError(f"a tag is at most {LARGEST_TAG:x}")
    if pattern and places:
        tags.read(client.general, places[-1], 1)  # before a pattern is made as long as that
        repeated = pattern * -(-len(places) // len(pattern))
        tags.write(client.general, places.start, repeated[: len(places)])
    return b"OK"


@packet("qIsAddressTagged", ":addr", needs=memory_tags)
def is_tagged(client: ClientState, tags: MemoryTags, gva: int) -> bytes:
    """``qIsAddressTagged:address``: whether there are tags (GDB manual, E.4)."""
    try:
        tags.read(client.general, gva & -GRANULE, 1)
    except MemoryFault:
        return b"00"
    return b"01"


def _granules(gva: int, length: int, kind: int) -> range:
    """The granules of a range whose tags, of type *kind*, are asked for."""
    if kind != _ALLOCATION:
        raise PacketError(f"tags of type {kind:x} are not in memory; those of type 1 are")
    if gva + length > 1 << 64:
        raise PacketError("the addresses wrap round")
    return granules(gva, length)
