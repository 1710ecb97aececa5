"""``qXfer``: documents that a client reads piece by piece.

Each document is made elsewhere; this module cuts the pieces.
"""

import os
from collections.abc import Callable

from gdbstub.capabilities import exec_file, has_guest_threads, has_libraries
from gdbstub.errors import PacketError
from gdbstub.protocol.packets.client_state import ClientState, Reply, Work
from gdbstub.protocol.packets.libraries import libraries_xml
from gdbstub.protocol.packets.os_data import OURS, os_data_xml
from gdbstub.protocol.packets.registry import packet
from gdbstub.protocol.packets.target_description import target_xml
from gdbstub.protocol.packets.threads import threads_xml
from gdbstub.slices import in_slices


@packet("qXfer:features:read:", "annex:offset,length", feature="qXfer:features:read+")
def features(client: ClientState, annex: bytes, offset: int, length: int) -> bytes:
    """``qXfer:features:read:annex:offset,length``: target description (GDB manual, E.4)."""
    if annex != b"target.xml":
        raise PacketError("no such annex; expected target.xml")
    return _piece(
        client, target_xml(client.architecture, client.registers, _os_abi(client)), offset, length
    )


@packet(
    "qXfer:threads:read:", "annex:offset,length", feature="qXfer:threads:read+", without_guest=True
)
def threads(client: ClientState, annex: bytes, offset: int, length: int) -> Reply:
    """``qXfer:threads:read::offset,length``: thread list (GDB manual, E.4)."""
    if annex:
        raise PacketError("no such annex; expected an empty one")
    if has_guest_threads(client.target) is None:
        return _piece(client, threads_xml(client), offset, length)
    return _long_piece(client, "thread-list", lambda: threads_xml(client), offset, length)


@packet(
    "qXfer:osdata:read:", "annex:offset,length", feature="qXfer:osdata:read+", without_guest=True
)
def os_data(client: ClientState, annex: bytes, offset: int, length: int) -> Reply:
    """``qXfer:osdata:read:annex:offset,length``: a table for ``info os`` (GDB manual, E.4)."""
    name = annex.decode("ascii", "replace")
    if name in OURS:
        return _piece(client, os_data_xml(client, name), offset, length)
    return _long_piece(client, name, lambda: os_data_xml(client, name), offset, length)


@packet(
    "qXfer:exec-file:read:",
    "annex:offset,length",
    feature="qXfer:exec-file:read+",
    without_guest=True,
    needs=exec_file,
)
def program(client: ClientState, path: str, annex: bytes, offset: int, length: int) -> bytes:
    """``qXfer:exec-file:read:annex:offset,length``: the program's file (GDB manual, E.4).

    The client opens it by itself, for there is no ``vFile``; there is one, whatever process
    *annex* names.
    """
    return _piece(client, os.fsencode(path), offset, length)


@packet(
    "qXfer:libraries:read:",
    "annex:offset,length",
    feature="qXfer:libraries:read+",
    without_guest=True,
)
def libraries(client: ClientState, annex: bytes, offset: int, length: int) -> Reply:
    """``qXfer:libraries:read::offset,length``: libraries, a kernel's modules (GDB manual, E.4).

    LLDB gets none: it takes the first address for that of a file whose sections lie as linked.
    """
    if annex:
        raise PacketError("no such annex; expected an empty one")
    if has_libraries(client.target) is None:
        return _piece(client, libraries_xml(client), offset, length)
    return _long_piece(client, "library-list", lambda: libraries_xml(client), offset, length)


def _os_abi(client: ClientState) -> str:
    """Return the OS ABI that a client is told; empty: it decides by itself.

    ``record full`` and ``generate-core-file`` are parts of GDB's GNU/Linux, which it takes by
    itself. There ``record full`` would end a GDB that gives no process ids. But a GDB that takes
    the guest for GNU/Linux asks for no libraries: it looks for those of a program.
    """
    if client.architecture.osabi or has_libraries(client.target):
        return client.architecture.osabi or "none"
    return "" if client.process else "none"


def _long_piece(
    client: ClientState, name: str, make: Callable[[], bytes], offset: int, length: int
) -> Reply:
    """Cut a piece of the document *name*, which takes long to make: its beginning makes it anew."""
    if not client.attached:  # no guest has anything to be read
        return _piece(client, make(), offset, length)
    if offset and client.document[0] == name:
        return _piece(client, client.document[1], offset, length)

    def work() -> Work:
        client.document = (name, (yield from in_slices(make)))
        return _piece(client, client.document[1], offset, length)

    return work()


def _piece(client: ClientState, document: bytes, offset: int, length: int) -> bytes:
    """Cut a piece; ``m`` goes before it, or ``l`` before the last one."""
    end = offset + min(length, client.packet_size // 2)
    return (b"l" if end >= len(document) else b"m") + document[offset:end]
