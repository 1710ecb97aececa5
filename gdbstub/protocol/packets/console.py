"""Console output: packets of text that go ahead of a reply, and that a client shows at once.

It writes no text of its own.
"""

from collections.abc import Iterator


def console(text: bytes, packet_size: int) -> Iterator[bytes]:
    """Make as many packets ``O XX…`` as *text* takes (GDB manual, E.3 "Stop Reply Packets")."""
    size = packet_size // 2 - 1
    for at in range(0, len(text), size):
        yield b"O" + text[at : at + size].hex().encode()
