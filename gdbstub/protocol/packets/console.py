"""Text that a client shows as it comes: packets ahead of a reply that is due.

It says nothing of its own.
"""

from collections.abc import Iterator


def console(text: bytes, packet_size: int) -> Iterator[bytes]:
    """``O XX…`` as often as *text* takes (GDB manual, E.3 "Stop Reply Packets")."""
    size = packet_size // 2 - 1
    for at in range(0, len(text), size):
        yield b"O" + text[at : at + size].hex().encode()
