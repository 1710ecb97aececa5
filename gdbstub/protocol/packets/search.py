"""Packets that search memory on this side, so that it need not be sent.

Each reads a slice at a time: between two slices the session handles a client's interrupt.
"""

import zlib
from collections.abc import Iterator
from typing import Final

from gdbstub.errors import PacketError
from gdbstub.protocol.packets.client_state import ClientState, Work
from gdbstub.protocol.packets.registry import packet

_TOP: Final = 1 << 64
#: Bytes that are read at once: some 30 ms on a slow machine.
SLICE: Final = 1 << 20

#: Every byte with its bits in the other order.
_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@packet("qSearch:memory:", "addr;length;binary")
def search(client: ClientState, address: int, length: int, pattern: bytes) -> Work:
    """``qSearch:memory:addr;length;pattern``: find bytes in memory (GDB manual, E.4).

    Memory that cannot be read is an error, unless the pattern is found before it.
    """
    if not pattern:
        raise PacketError("a search for no bytes")
    text = b""
    for data, more in _blocks(client, address, length):
        text += data
        if (at := text.find(pattern)) >= 0:
            return b"1,%x" % (address + at)
        done = max(0, len(text) - len(pattern) + 1)
        text = text[done:]
        address += done
        if more:
            yield None
    return b"0"


@packet("qCRC", ":addr,length")
def checksum(client: ClientState, address: int, length: int) -> Work:
    """``qCRC:addr,length``: the CRC of memory, all of it readable (GDB manual, E.4).

    The polynomial is zlib's. The bits of a byte are in the opposite order, and the result is not
    inverted.
    """
    crc = 0
    for data, more in _blocks(client, address, length):
        crc = zlib.crc32(data.translate(_REVERSED), crc)
        if more:
            yield None
    return b"C%x" % int(f"{~crc & 0xFFFF_FFFF:032b}"[::-1], 2)


def _blocks(client: ClientState, address: int, length: int) -> Iterator[tuple[bytes, bool]]:
    """Read memory, a slice at a time; the flag is True if there is more.

    Raises:
        MemoryFault: the next byte cannot be read.
    """
    end = min(address + length, _TOP)
    while address < end:
        length = min(SLICE, end - address)
        data = client.read_memory(address, length)
        address += len(data)
        yield data, address < end
