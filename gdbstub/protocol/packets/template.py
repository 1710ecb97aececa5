"""Packet templates: the GDB manual's notation for arguments, made into a parser.

It names no packet; ``addr,length[;…]`` stands beside the handler that takes the values.
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
_THREAD: Final = re.compile(
    rb"(?:p(?:-1|%b+)\.)?(?:(-1)|0*(%b{1,8}))|p(?:(-1)|%b+)" % (_HEX, _HEX, _HEX)
)


def number(text: bytes) -> int:
    """Read hex digits that a template has matched."""
    return int(text, 16)


def thread_id(text: bytes) -> int:
    """Read a thread id, ``ALL`` and ``ANY`` among them; a process id is passed over.

    Raises:
        PacketError: it is not of the form (GDB manual, E.2 "thread-id syntax").
    """
    if not (match := _THREAD.fullmatch(text)):
        raise PacketError("malformed thread id")
    # A process alone means all its threads.
    return number(match[2]) if match[2] else ALL


# No number is wider than an address: leading zeros aside, 64 bits.
_NUMBER: Final = rb"0*(%b{1,16})" % _HEX, number

#: Every word that a template may use: what it matches and what becomes of it.
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
    "…": (rb".*", None),  # accepted and not looked at
}

_TOKEN: Final = re.compile(r"XX…|…|[a-z-]+|.")


class PacketTemplate:
    """A template: the parser of what follows a packet's name."""

    def __init__(self, text: str) -> None:
        """Compile *text*; ``[`` and ``]`` enclose what may be absent.

        Raises:
            KeyError: a word is no field.
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
        #: Whether a name must not run on: with no argument right behind it, ``qC`` is a
        #: word, and ``qCRC`` another.
        self.closed = text.lstrip("[")[:1] in (*",;:", "")

    @cached_property
    def _fullmatch(self) -> Callable[[bytes, int], re.Match[bytes] | None]:
        # Compiled when first wanted: a session uses few packets, and every start would wait.
        return re.compile(self._pattern, re.DOTALL).fullmatch

    def parse(self, data: bytes, start: int) -> list[object]:
        """The arguments in *data* from *start* on, ``None`` where one is absent.

        Raises:
            PacketError: they do not match.
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
