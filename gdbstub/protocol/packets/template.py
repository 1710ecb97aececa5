"""Packet templates: parsers made of the GDB manual's notation for arguments.

It names no packet. A template as ``addr,length[;…]`` is beside the handler that takes the values.
"""

import re
from binascii import unhexlify
from collections.abc import Callable
from functools import cached_property
from typing import Final

from gdbstub.errors import PacketError
from gdbstub.protocol.packets.clauses import clauses
from gdbstub.protocol.packets.client_state import ALL

_HEX: Final = rb"[0-9a-fA-F]"
#: Digits of a number without the zeros in front, which are never given back: a long run of them
#: would else be tried in every way.
HEX: Final = rb"(?=%b)0*+(%b{0,16})" % (_HEX, _HEX)
_THREAD: Final = re.compile(
    rb"(?:p(?:-1|%b++)\.)?+(?:(-1)|(?=%b)0*+(%b{0,8}))|p(?:(-1)|%b++)" % ((_HEX,) * 4)
)


def number(text: bytes) -> int:
    """Read hex digits that a template has matched; no digits are 0, whose zeros are left out."""
    return int(text or b"0", 16)


def thread_id(text: bytes) -> int:
    """Read a thread id, which may be ``ALL`` or ``ANY``; a process id is ignored.

    Raises:
        PacketError: *text* is no thread id (GDB manual, E.2 "thread-id syntax").
    """
    if not (match := _THREAD.fullmatch(text)):
        raise PacketError("malformed thread id; expected TID or pPID.TID, hexadecimal")
    # A process alone means all its threads.
    return ALL if match[2] is None else number(match[2])


# A number has at most 64 bits, as an address has, apart from leading zeros.
_NUMBER: Final = HEX, number

#: Words that a template may use: the pattern that a word matches, and the converter of its text.
FIELDS: Final[dict[str, tuple[bytes, Callable[[bytes], object] | None]]] = {
    "addr": _NUMBER,
    "length": _NUMBER,
    "offset": _NUMBER,
    "kind": _NUMBER,
    "pid": _NUMBER,
    "n": _NUMBER,
    "sig": (rb"(%b{2})" % _HEX, number),
    "thread-id": (rb"([0-9a-fA-Fp.-]+)", thread_id),
    "program": (rb"([0-9a-fA-F]*)", unhexlify),
    "words": (rb"(.*)", bytes),
    "annex": (rb"([^:]*)", bytes),
    "XX…": (rb"(.*)", unhexlify),
    "binary": (rb"(.*)", bytes),
    "features": (rb"(.*)", bytes),
    "actions": (rb"(.+)", bytes),
    "clauses": (rb"(;.*)", clauses),
    "…": (rb".*", None),  # accepted and ignored
}

_TOKEN: Final = re.compile(r"XX…|…|[a-z-]+|.")


class PacketTemplate:
    """Parser of the arguments that follow a packet's name."""

    def __init__(self, text: str) -> None:
        """Compile *text*; ``[`` and ``]`` enclose arguments that may be absent.

        Raises:
            KeyError: a word is not in ``FIELDS``.
        """
        pattern = b""
        converters: list[Callable[[bytes], object]] = []
        for token in _TOKEN.findall(text):
            if token in "[]":
                pattern += b"(?:" if token == "[" else b")?"
            elif token in FIELDS or token.isalpha():
                matches, converter = FIELDS[token]
                pattern += matches
                if converter:
                    converters.append(converter)
            else:
                pattern += re.escape(token.encode())
        self.text = text
        self._pattern = pattern
        self._converters = tuple(converters)
        #: True if no letter or digit may follow the packet's name, because no argument does:
        #: ``qCRC`` is not ``qC``.
        self.closed = text.lstrip("[")[:1] in (*",;:", "")

    @cached_property
    def _fullmatch(self) -> Callable[[bytes, int], re.Match[bytes] | None]:
        # Compiled at the first use: a session uses few packets, and compiling all delays a start.
        return re.compile(self._pattern, re.DOTALL).fullmatch

    def parse(self, data: bytes, start: int) -> list[object]:
        """Parse the arguments in *data* from *start* on; an absent one is None.

        Raises:
            PacketError: the arguments do not match, or a value is malformed.
        """
        if not (match := self._fullmatch(data, start)):
            raise PacketError(f"malformed {data[:start].decode('ascii', 'replace')} packet")
        try:
            return [
                None if text is None else convert(text)
                for convert, text in zip(self._converters, match.groups(), strict=True)
            ]
        except ValueError as error:
            raise PacketError(f"malformed data: {error}") from None
