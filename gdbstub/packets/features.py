"""``qXfer``: documents that a client reads piece by piece.

Each document is made elsewhere; here is only how pieces are cut.
"""

from gdbstub.aarch64.target_xml import target_xml
from gdbstub.errors import PacketError
from gdbstub.packets.client import Client
from gdbstub.packets.registry import packet
from gdbstub.packets.threads import threads_xml


@packet("qXfer:features:read:", "annex:offset,length", feature="qXfer:features:read+")
def features(client: Client, annex: bytes, offset: int, length: int) -> bytes:
    """``qXfer:features:read:annex:offset,length``: target description (GDB manual, E.4)."""
    if annex != b"target.xml":
        raise PacketError("no such annex")
    return _piece(client, target_xml(client.registers), offset, length)


@packet("qXfer:threads:read:", "annex:offset,length", feature="qXfer:threads:read+", idle=True)
def threads(client: Client, annex: bytes, offset: int, length: int) -> bytes:
    """``qXfer:threads:read::offset,length``: thread list (GDB manual, E.4)."""
    if annex:
        raise PacketError("no such annex")
    return _piece(client, threads_xml(client), offset, length)


def _piece(client: Client, document: bytes, offset: int, length: int) -> bytes:
    """``m`` and the piece, or ``l`` and the last one."""
    end = offset + min(length, client.packet_size // 2)
    return (b"l" if end >= len(document) else b"m") + document[offset:end]
