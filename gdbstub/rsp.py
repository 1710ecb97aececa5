"""GDB's remote serial protocol as bytes: bytes to events, replies to frames.

It does no I/O and knows no packet by name (GDB manual, E.1 "Overview").
"""

import re
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Final, NamedTuple
from zlib import adler32

#: Length of the longest payload that is taken, in bytes; ``PacketSize`` announces it.
PACKET_SIZE: Final = 0x20000

# Compiled at the first use: clients send few such packets, and compiling delays a start.
_ESCAPED: Final = rb"(?s)\}(.)"
_RUNS: Final = rb"([^*])((?:\*[ -~])+)"
_DIGITS: Final = [b"%02x" % value for value in range(256)]
_ENDS: Final = [b"#" + digits for digits in _DIGITS]
_LEAD: Final = re.compile(rb"[$\x03+-]")
_DOLLAR, _INTERRUPT, _PLUS, _MINUS = b"$\x03+-"
#: Bytes that a frame cannot hold; '*' is one, because clients expand runs in every frame.
_SPECIAL: Final = b"#$}*"
#: Up to this length, one pass over a payload is faster than four searches in it.
_LITTLE: Final = 256


class Packet(NamedTuple):
    """Packet whose checksum is right: runs are expanded and escapes undone."""

    data: bytes


class ControlByte(Enum):
    """Event that is no packet; the value is its text in a log."""

    #: The peer has our last frame.
    ACK = "+"
    #: The peer wants our last frame again.
    NAK = "-"
    #: The byte 0x03 between frames (GDB manual, E.7 "Interrupts").
    INTERRUPT = "^C"
    #: A frame has arrived whose checksum is wrong.
    BAD_CHECKSUM = "(bad checksum)"
    #: A packet was longer than ``PACKET_SIZE``. Nothing of it was kept.
    OVERSIZED = "(too long)"


Event = Packet | ControlByte


def encode(payload: bytes) -> bytes:
    """Frame *payload*, escaping bytes that a frame cannot hold (GDB manual, E.1)."""
    if len(payload) <= _LITTLE and (
        payload.isalnum() or len(payload.translate(None, _SPECIAL)) == len(payload)
    ):
        return b"$" + payload + _ENDS[adler32(payload, 0) & 0xFF]  # as ``checksum`` sums
    # The escape character goes first.
    body = payload.replace(b"}", b"}]").replace(b"#", b"}\x03")
    body = body.replace(b"$", b"}\x04").replace(b"*", b"}\x0a")
    return b"$" + body + _ENDS[checksum(body)]


def checksum(body: bytes) -> int:
    """Sum all bytes, modulo 256."""
    # Adler-32 begun at 0 holds the sum modulo 65521 in its low half, which 256 bytes cannot
    # reach, nor 515 of ASCII. It is many times faster than sum().
    size = 515 if body.isascii() else 256
    total = 0
    for at in range(0, len(body), size):
        total += adler32(body[at : at + size], 0)
    return total & 0xFF


class Connection:
    """Stub's end of a connection.

    It holds at most ``PACKET_SIZE`` bytes between calls, however much a peer sends. A
    longer packet is dropped as it arrives and becomes ``OVERSIZED`` at its end.
    """

    def __init__(self, encode: Callable[[bytes], bytes] = encode) -> None:
        """Begin with acknowledgements on, as every connection does.

        *encode* frames replies, as this module's ``encode`` does.
        """
        self._encode = encode
        self.acks = True
        #: Bytes of a frame that has begun and not ended.
        self.buffer: Final = bytearray()
        self._scanned = 0  # no '#' before this, so a slow packet is searched only once
        self._dropping = False
        self._last = b""

    def receive(self, data: bytes) -> Iterator[Event]:
        """Take bytes; yield the events that they complete. Never raises.

        The iterator is to be exhausted before the next call. An incomplete frame is kept.
        """
        buffer = self.buffer
        buffer += data
        at = 0
        while at < len(buffer):
            lead = buffer[at]
            if lead == _DOLLAR:
                end = buffer.find(b"#", max(at + 1, self._scanned))
                if end < 0 or len(buffer) < end + 3:
                    self._scanned = len(buffer) if end < 0 else end
                    break
                self._scanned = 0
                start, at = at + 1, end + 3
                yield self._frame(bytes(buffer[start:at]))
            elif lead == _INTERRUPT:
                at += 1
                yield ControlByte.INTERRUPT
            elif lead == _PLUS:
                at += 1
                yield ControlByte.ACK
            elif lead == _MINUS:
                at += 1
                yield ControlByte.NAK
            elif found := _LEAD.search(buffer, at):
                at = found.start()
            else:
                at = len(buffer)
        del buffer[:at]
        self._scanned = max(0, self._scanned - at)
        self._shrink()

    def answer(self, event: Event) -> bytes:
        """Return the bytes to send at once for *event*: ``+``, ``-``, the last frame, or none."""
        if not self.acks:
            return b""  # GDB still sends '-' on a timeout, and expects nothing
        if isinstance(event, Packet) or event is ControlByte.OVERSIZED:
            return b"+"
        if event is ControlByte.BAD_CHECKSUM:
            return b"-"
        return self._last if event is ControlByte.NAK else b""

    def send(self, payload: bytes) -> bytes:
        """Frame a reply, and keep the frame for a peer that asks for it again."""
        self._last = frame = self._encode(payload)
        return frame

    def _frame(self, frame: bytes) -> Event:
        """Decode a whole frame, without its ``$``, that ends in ``#`` and two digits."""
        # A '$' cannot occur within a frame: one that does starts the frame anew.
        start = frame.rfind(b"$", 0, -3) + 1
        body = frame[start:-3]
        dropping, self._dropping = self._dropping and not start, False
        if dropping or len(body) > PACKET_SIZE:
            return ControlByte.OVERSIZED
        if frame[-2:].lower() != _DIGITS[checksum(body)]:
            return ControlByte.BAD_CHECKSUM
        if b"*" in body:
            expanded = _expand(body)
            if expanded is None:
                return ControlByte.OVERSIZED
            body = expanded
        return Packet(unescape(body))

    def _shrink(self) -> None:
        """Keep the incomplete frame within bounds."""
        buffer = self.buffer
        restart = buffer.rfind(b"$", 1) if len(buffer) > PACKET_SIZE + 4 else 0
        if restart > 0:
            del buffer[:restart]
            self._dropping = False
        if len(buffer) > PACKET_SIZE + 4:
            # The '$' stays, so that the frame is known by its end.
            del buffer[1:]
            self._dropping = True
        self._scanned = min(self._scanned, len(buffer))


def unescape(body: bytes) -> bytes:
    """Undo ``}`` escapes; a ``}`` at the very end stands for itself."""
    if b"}" not in body:
        return body
    return re.sub(_ESCAPED, lambda match: bytes((match[1][0] ^ 0x20,)), body)


def _expand(body: bytes) -> bytes | None:
    """Expand run-length encoding; return None beyond ``PACKET_SIZE``. A ``*`` of no run stays.

    ``*`` and a printable character repeat the byte before them, by the character's code less 29
    (GDB manual, E.1). *body* is as sent, with its escapes.
    """
    growth = sum(_repeats(match) - len(match[2]) for match in re.finditer(_RUNS, body))
    if len(body) + growth > PACKET_SIZE:
        return None
    return re.sub(_RUNS, lambda match: match[1] * (1 + _repeats(match)), body)


def _repeats(match: re.Match[bytes]) -> int:
    counts = match[2][1::2]
    return sum(counts) - 29 * len(counts)
