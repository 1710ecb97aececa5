"""Packets about memory tags, for targets that have them.

A tag is a byte, and belongs to a granule. The architecture says how large either may be: with
FEAT_MTE2, a tag has four bits and a granule 16 bytes.
"""

from typing import Final

from gdbstub.capabilities import MemoryTags, memory_tags
from gdbstub.errors import MemoryFault, PacketError
from gdbstub.protocol.packets.client_state import ClientState
from gdbstub.protocol.packets.registry import packet

#: The tags of memory; those of pointers are in the pointers (GDB manual, E.5.1.2).
_ALLOCATION: Final = 1


@packet("qMemTags", ":addr,length:n", feature="memory-tagging+", needs=memory_tags)
def read(client: ClientState, tags: MemoryTags, gva: int, length: int, kind: int) -> bytes:
    """``qMemTags:start address,length:type``: read tags, a byte each (GDB manual, E.4)."""
    places = _granules(client, gva, length, kind)
    if 2 * len(places) >= client.packet_size:
        raise PacketError(f"{len(places)} tags are more than fit in a packet")
    found = tags.read(client.general_thread, places.start, len(places)) if places else b""
    return b"m" + found.hex().encode()


@packet("QMemTags", ":addr,length:n:XX…", needs=memory_tags)
def write(
    client: ClientState, tags: MemoryTags, gva: int, length: int, kind: int, pattern: bytes
) -> bytes:
    """``QMemTags:start address,length:type:tag bytes``: write tags (GDB manual, E.4).

    Fewer tags than granules are repeated, tags beyond them are ignored.
    """
    places = _granules(client, gva, length, kind)
    largest = client.architecture.largest_tag
    if any(tag > largest for tag in pattern):
        raise PacketError(f"a tag is at most {largest:x}")
    if pattern and places:
        tags.read(client.general_thread, places[-1], 1)  # before a pattern is made as long as that
        repeated = pattern * -(-len(places) // len(pattern))
        tags.write(client.general_thread, places.start, repeated[: len(places)])
    return b"OK"


@packet("qIsAddressTagged", ":addr", needs=memory_tags)
def is_tagged(client: ClientState, tags: MemoryTags, gva: int) -> bytes:
    """``qIsAddressTagged:address``: say 01 if an address has a tag (GDB manual, E.4)."""
    try:
        tags.read(client.general_thread, gva & -client.architecture.tag_granule, 1)
    except MemoryFault:
        return b"00"
    return b"01"


def _granules(client: ClientState, gva: int, length: int, kind: int) -> range:
    """Return the addresses of the granules that a range touches, if *kind* is that of memory.

    Raises:
        PacketError: tags of type *kind* are not in memory, or the range ends beyond 64 bits.
    """
    if kind != _ALLOCATION:
        raise PacketError(f"tags of type {kind:x} are not in memory; those of type 1 are")
    if gva + length > 1 << 64:
        raise PacketError("the addresses wrap round")
    size = client.architecture.tag_granule
    return range(gva & -size, gva + length, size) if length else range(0)
