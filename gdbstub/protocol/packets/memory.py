"""Packets that read and write memory, at virtual addresses unless the client chose physical ones.

A read may come back shorter than asked for; a write is all or nothing.
"""

from binascii import hexlify
from typing import Final

from gdbstub.errors import PacketError
from gdbstub.protocol.packets.client_state import ClientState
from gdbstub.protocol.packets.registry import packet

_TOP: Final = 1 << 64
#: Error of a read whose reply would be empty, which says: not supported.
_NO_BYTES: Final = "a read of no bytes"


@packet("m", "addr,length")
def read(client: ClientState, address: int, length: int) -> bytes:
    """``m addr,length``: read memory, in hex (GDB manual, E.2)."""
    if not length:
        raise PacketError(_NO_BYTES)
    return hexlify(_read(client, address, min(length, client.packet_size // 2)))


@packet("x", "addr,length", feature="binary-upload+")
def read_binary(client: ClientState, address: int, length: int) -> bytes:
    """``x addr,length``: read memory, as binary data after a ``b`` (GDB manual, E.2).

    LLDB before 20 tries ``x0,0``. The reply ``OK`` tells it that no ``b`` will be sent.
    """
    if not address and not length and b"binary-upload" not in client.features:
        client.raw_upload = True
        return b"OK"
    if not length and client.raw_upload:
        raise PacketError(_NO_BYTES)
    # What escapes add comes on top: PacketSize bounds what is sent to us.
    data = _read(client, address, min(length, client.packet_size - 1)) if length else b""
    return data if client.raw_upload else b"b" + data


@packet("M", "addr,length:XX…")
def write(client: ClientState, address: int, length: int, data: bytes) -> bytes:
    """``M addr,length:XX…``: write memory, from hex (GDB manual, E.2)."""
    return _write(client, address, length, data)


@packet("X", "addr,length:binary")
def write_binary(client: ClientState, address: int, length: int, data: bytes) -> bytes:
    """``X addr,length:XX…``: write memory, from binary data (GDB manual, E.2).

    Clients send one of length 0 to learn that the packet is supported.
    """
    return _write(client, address, length, data)


def _read(client: ClientState, address: int, length: int) -> bytes:
    length = min(length, _TOP - address)
    return client.read_memory(address, length)


def _write(client: ClientState, address: int, length: int, data: bytes) -> bytes:
    if len(data) != length:
        raise PacketError(f"{len(data)} bytes where {length} were announced")
    if address + length > _TOP:
        raise PacketError("the addresses wrap round")
    if data:
        client.write_memory(address, data)
    return b"OK"
