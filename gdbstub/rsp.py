"""GDB's remote serial protocol as bytes: what arrived to events, replies to frames.

It does no I/O and knows no packet by name (GDB manual, E.1 "Overview").
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from itertools import starmap
from typing import Final, NamedTuple

#: The most bytes between ``$`` and ``#`` that we take; what ``PacketSize`` announces.
PACKET_SIZE: Final = 0x20000

# Compiled when first wanted, both: clients send few such packets, and every start would wait.
_ESCAPED: Final = rb"(?s)\}(.)"
_RUNS: Final = rb"([^*])((?:\*[ -~])+)"
_DIGITS: Final = [b"%02x" % value for value in range(256)]
_PIECES: Final = struct.Struct("256s").iter_unpack
_LEAD: Final = re.compile(rb"[$\x03+-]")
_DOLLAR, _INTERRUPT, _PLUS, _MINUS = b"$\x03+-"
#: What a frame cannot hold as it is; '*' too, for a client expands runs in every frame.
_SPECIAL: Final = b"#$}*"
#: What a client says again and again is short, and not of so many kinds.
_SHORT: Final = 64
_REMEMBERED: Final = 256
#: So many bytes are looked through faster than four times searched.
_LITTLE: Final = 256


class Packet(NamedTuple):
    """A packet with a good checksum: runs expanded, escapes undone."""

    data: bytes


class ControlByte(Enum):
    """What else arrives, as a log spells it."""

    #: The peer has our last frame.
    ACK = "+"
    #: It wants that again.
    NAK = "-"
    #: The byte 0x03 between frames (GDB manual, E.7 "Interrupts").
    INTERRUPT = "^C"
    #: A frame arrived damaged.
    BAD_CHECKSUM = "(bad checksum)"
    #: A packet was longer than ``PACKET_SIZE``; nothing of it was kept.
    OVERSIZED = "(too long)"


Event = Packet | ControlByte


def encode(payload: bytes) -> bytes:
    """Frame *payload*, escaping what a frame cannot hold (GDB manual, E.1)."""
    body = payload
    if len(body) > _LITTLE or len(body.translate(None, _SPECIAL)) != len(body):
        # The escape character goes first.
        body = body.replace(b"}", b"}]").replace(b"#", b"}\x03")
        body = body.replace(b"$", b"}\x04").replace(b"*", b"}\x0a")
    return b"$%b#%02x" % (body, checksum(body))


def checksum(body: bytes) -> int:
    """The sum of all bytes, modulo 256."""
    # Adler-32 begun at 0 holds the sum modulo 65521 in its low half, which 256 bytes cannot
    # reach. It is many times faster than sum(); begun at 1, as it is by itself, the loop over
    # pieces has no bytecode.
    whole = len(body) & -256
    total = zlib.adler32(body[whole:] if whole else body, 0)
    if whole:
        total += sum(starmap(zlib.adler32, _PIECES(memoryview(body)[:whole]))) - whole // 256
    return total & 0xFF


class Connection:
    """One end of a conversation, the stub's.

    It holds at most ``PACKET_SIZE`` bytes between calls, however much a peer sends: a
    longer packet is dropped as it arrives and becomes ``OVERSIZED`` at its end.
    """

    def __init__(self, encode: Callable[[bytes], bytes] = encode) -> None:
        """Start with acknowledgements on, as every conversation does.

        *encode* frames replies: another is to do what this module's does, and faster.
        """
        self._encode = encode
        self.acks = True
        self._known: dict[bytes, Packet] = {}  # short frames that came alone
        self._buffer = bytearray()
        self._scanned = 0  # no '#' before this, so a slow packet is searched only once
        self._dropping = False
        self._last = b""

    def receive(self, data: bytes) -> Iterable[Event]:
        """Take bytes; the events that they complete, for one loop over them. Never raises.

        Exhaust it before the next call. What is not complete it keeps.
        """
        if (packet := self._known.get(data)) is not None and not self._buffer:
            return (packet,)
        return self._parse(data)

    def _parse(self, data: bytes) -> Iterator[Event]:
        buffer = self._buffer
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
                start = at
                at = end + 3
                event = self._frame(bytes(buffer[start + 1 : at]))
                if at - start == len(data) <= _SHORT and isinstance(event, Packet):
                    self._remember(bytes(buffer[start:at]), event)
                yield event
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
        """What the wire wants at once for *event*: ``+``, ``-``, our last frame, or nothing."""
        if not self.acks:
            return b""  # a client still sends '-' on a timeout, and means nothing by it
        if isinstance(event, Packet) or event is ControlByte.OVERSIZED:
            return b"+"
        if event is ControlByte.BAD_CHECKSUM:
            return b"-"
        return self._last if event is ControlByte.NAK else b""

    def _remember(self, frame: bytes, packet: Packet) -> None:
        if len(self._known) == _REMEMBERED:
            self._known.clear()
        self._known[frame] = packet

    def send(self, payload: bytes) -> bytes:
        """Frame a reply, and remember it for a peer that did not get it."""
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
        """Keep the unfinished frame within bounds."""
        buffer = self._buffer
        restart = buffer.rfind(b"$", 1) if len(buffer) > PACKET_SIZE + 4 else 0
        if restart > 0:
            del buffer[:restart]
            self._dropping = False
        if len(buffer) > PACKET_SIZE + 4:
            # What stays is a frame's start, which its '#' will find.
            del buffer[1:]
            self._dropping = True
        self._scanned = min(self._scanned, len(buffer))


def unescape(body: bytes) -> bytes:
    """Undo ``}`` escapes; one at the very end stands for itself."""
    if b"}" not in body:
        return body
    return re.sub(_ESCAPED, lambda match: bytes((match[1][0] ^ 0x20,)), body)


def _expand(body: bytes) -> bytes | None:
    """Expand run-length encoding, or None beyond ``PACKET_SIZE``; a ``*`` that is no run stays.

    ``*`` and a printable character repeat what stands before, by the character less 29
    (GDB manual, E.1); this works on the bytes as sent, before escapes are undone.
    """
    growth = sum(_repeats(match) - len(match[2]) for match in re.finditer(_RUNS, body))
    if len(body) + growth > PACKET_SIZE:
        return None
    return re.sub(_RUNS, lambda match: match[1] * (1 + _repeats(match)), body)


def _repeats(match: re.Match[bytes]) -> int:
    counts = match[2][1::2]
    return sum(counts) - 29 * len(counts)
