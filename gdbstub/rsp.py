"""GDB's remote serial protocol as bytes: bytes to events, replies to frames.

It does no I/O and knows no packet by name (GDB manual, E.1 "Overview").
"""

import errno
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
#: First bytes of what a client sends, at a connection's beginning and between frames.
LEADS: Final = b"$\x03+-"
_DOLLAR, _INTERRUPT, _PLUS, _MINUS = LEADS
#: Bytes that a frame cannot hold; '*' is one, because clients expand runs in every frame.
_SPECIAL: Final = b"#$}*"
#: Up to this length, one pass over a payload is faster than four searches in it.
_LITTLE: Final = 256
#: Beginning of what speaks HTTP or TLS, neither of which may be taken for a debugger: a web page
#: can have a browser send either to a port of this machine. What speaks TLS begins with it: in a
#: frame these two bytes are data.
_HTTP: Final = rb"(?:GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH|PRI) |HTTP/"
_FOREIGN: Final = _HTTP + rb"|\x16\x03"
#: HTTP where a line begins, for a whole frame, whose data may be anything.
_HTTP_LINE: Final = rb"(?:\A|[\r\n])(?:%b)" % _HTTP
#: Error reply with ENOMEM, whose frame is small.
_NO_MEMORY: Final = b"E%02x" % errno.ENOMEM
_OVERLAP: Final = 8  # no match of the two is longer than this and a byte


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
    #: The peer speaks another protocol. Nothing that it sends is an event from here on.
    FOREIGN = "(another protocol)"


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

    It holds at most ``PACKET_SIZE`` bytes between calls, however much a peer sends, if all events
    are taken. A longer packet is dropped as it arrives and becomes ``OVERSIZED`` at its end.
    """

    def __init__(self, encode: Callable[[bytes], bytes] = encode) -> None:
        """Begin with acknowledgements on, as every connection does.

        *encode* frames replies, as this module's ``encode`` does.
        """
        self._encode = encode
        self.acks = True
        self._buffer = bytearray()
        self._scanned = 1  # neither '#' nor '$' from 1 to this, so that bytes are searched once
        self._dropping = False  # the frame is too long: its data is not kept
        self._noise = b""  # the end of what was dropped, or has arrived between frames
        self._suspect = False  # the frame is too long, and what was dropped looks like HTTP
        self._foreign = False
        self._last = b""

    @property
    def in_frame(self) -> bool:
        """True unless the next byte is one between frames, as the first is: bytes are kept."""
        return bool(self._buffer or self._noise)

    @property
    def kept(self) -> int:
        """Number of bytes that have arrived and are not yet events."""
        return len(self._buffer)

    def receive(self, data: bytes) -> Iterator[Event]:
        """Take bytes; return an iterator over the events that they complete. Neither raises.

        Events that are not taken from the iterator are the first of the next call's, in which
        *data* may be empty. An incomplete frame is kept.
        """
        if not self._foreign:
            self._buffer += data
        return self._events()

    def _events(self) -> Iterator[Event]:
        # The state is up to date wherever an event is yielded: the iterator may end there.
        buffer = self._buffer
        while buffer:
            lead = buffer[0]
            if lead == _DOLLAR:
                self._noise = self._noise if self._dropping else b""
                if (event := self._frame()) is None:
                    return
                yield event
                continue
            if lead not in LEADS:
                found = _LEAD.search(buffer)
                end = found.start() if found else len(buffer)
                noise = self._noise + buffer[:end]
                del buffer[:end]
                self._noise = noise[-_OVERLAP:]
                if re.search(_FOREIGN, noise):
                    yield self._close()
                continue
            del buffer[0]
            noise, self._noise = self._noise, b""
            if lead == _INTERRUPT:
                # A TLS record begins with 0x16 and 0x03.
                yield self._close() if noise.endswith(b"\x16") else ControlByte.INTERRUPT
            else:
                yield ControlByte.ACK if lead == _PLUS else ControlByte.NAK

    def _close(self) -> ControlByte:
        self._foreign, self._noise = True, b""
        self._buffer.clear()
        return ControlByte.FOREIGN

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
        """Frame a reply, and keep the frame for a peer that asks for it again.

        An error takes the place of a reply for whose frame there is no memory.
        """
        try:
            frame = self._encode(payload)
        except MemoryError:
            frame = self._encode(_NO_MEMORY)
        self._last = frame
        return frame

    def _frame(self) -> Event | None:
        """Decode the frame at the buffer's start and remove it; return None if it has no end."""
        buffer = self._buffer
        end = buffer.find(b"#", self._scanned)
        body_end = len(buffer) if end < 0 else end
        # A '$' cannot occur within a frame: one that does starts the frame anew.
        if (restart := buffer.rfind(b"$", self._scanned, body_end)) > 0:
            abandoned = self._noise + buffer[1:restart]
            del buffer[:restart]
            suspect = self._suspect or re.search(_HTTP, abandoned)
            self._begin_frame()
            if suspect:
                return self._close()
            end, body_end = end - restart if end >= 0 else end, body_end - restart
        if end < 0 or len(buffer) < end + 3:
            if body_end > PACKET_SIZE + 1:
                dropped = self._noise + buffer[1:body_end]
                self._dropping = True
                self._suspect = self._suspect or bool(re.search(_HTTP, dropped))
                self._noise = dropped[-_OVERLAP:]
                del buffer[1:body_end]  # the '$' stays, so that the frame is known by its end
                body_end = 1
            self._scanned = body_end
            return None
        body, digits = bytes(buffer[1:end]), buffer[end + 1 : end + 3]
        del buffer[: end + 3]
        dropping = self._dropping
        self._begin_frame()
        if dropping or len(body) > PACKET_SIZE:
            return ControlByte.OVERSIZED
        if digits.lower() != _DIGITS[checksum(body)]:
            return self._close() if re.search(_HTTP_LINE, body) else ControlByte.BAD_CHECKSUM
        if b"*" in body:
            expanded = _expand(body)
            if expanded is None:
                return ControlByte.OVERSIZED
            body = expanded
        return Packet(unescape(body))

    def _begin_frame(self) -> None:
        self._scanned = 1
        self._dropping = self._suspect = False
        self._noise = b""


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
