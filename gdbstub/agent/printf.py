"""Format language of an agent's ``printf``: C's, for integers and for strings of the guest.

It evaluates nothing. GDB sends the text as the source has it, with its escapes (GDB manual, F.2
"Bytecode Descriptions", ``printf``). The conversions are those of GDB's own ``printf`` command and
of C.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from gdbstub.errors import AgentError, MemoryFault, printable

#: Reads memory as ``EvaluationContext.memory`` does.
Memory = Callable[[int, int], bytes]

_WIDEST: Final = 1024  # characters that a width or a precision may ask for
_LONGEST: Final = 1024  # bytes of a string that has no NUL
_PIECE: Final = 256  # bytes of a string that are read at once

# Both are compiled when first used: few sessions print, and every start would pay for them.
_ESCAPE: Final = rb"(?s)\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(.?))"
_ESCAPED: Final = {
    b"a": b"\a", b"b": b"\b", b"e": b"\x1b", b"f": b"\f", b"n": b"\n", b"r": b"\r",
    b"t": b"\t", b"v": b"\v", b"\\": b"\\", b'"': b'"', b"'": b"'", b"?": b"?",
}  # fmt: skip

_CONVERSION: Final = (
    rb"%(?:(?P<percent>%)|(?P<flags>[-+ #0]*)(?P<width>\d*)(?:\.(?P<precision>\d*))?"
    rb"(?P<size>hh?|ll?|[jztLH]|DD?)?(?P<letter>[a-zA-Z]))?"
)
_BITS: Final = {"hh": 8, "h": 16, "": 32, "l": 64, "ll": 64, "j": 64, "z": 64, "t": 64}
_INTEGERS: Final = "diuxXo"
_FLOATS: Final = "eEfFgGaA"


class Conversion(NamedTuple):
    """One conversion: ``%``, flags, width, precision, size and letter."""

    letter: str
    flags: str = ""
    width: int = 0
    precision: int | None = None
    bits: int = 64

    def render(self, value: int, memory: Memory) -> bytes:
        """Return the text of *value*, an element of the agent's stack."""
        if self.letter == "s":
            return self._justified(self._string(value, memory))
        if self.letter == "c":
            return self._justified(bytes([value & 0xFF]))
        if self.letter == "p":
            return self._justified(b"%#x" % value if value else b"(nil)")
        if self.letter in _FLOATS:
            # GDB has cut the value down to an integer before it got here.
            return b"<%%%c: no floating point>" % ord(self.letter)
        return self._justified(self._integer(value))

    def _justified(self, text: bytes) -> bytes:
        return text.ljust(self.width) if "-" in self.flags else text.rjust(self.width)

    def _integer(self, value: int) -> bytes:
        value &= (1 << self.bits) - 1
        prefix = ""
        if self.letter in "di":
            if negative := value >> self.bits - 1:
                value = (1 << self.bits) - value
            prefix = "-" if negative else "+" if "+" in self.flags else " " * (" " in self.flags)
        digits = format(value, self.letter if self.letter in "xXo" else "d")
        if self.precision is not None:
            digits = digits.zfill(self.precision) if value or self.precision else ""
        if "#" in self.flags:
            if self.letter == "o" and not digits.startswith("0"):
                digits = "0" + digits
            elif self.letter in "xX" and value:
                prefix = "0" + self.letter
        if "0" in self.flags and "-" not in self.flags and self.precision is None:
            digits = digits.zfill(self.width - len(prefix))
        return (prefix + digits).encode()

    def _string(self, gva: int, memory: Memory) -> bytes:
        """Read the guest's string at *gva*; where it cannot be read, say so in the text."""
        if not gva:
            return b"(null)"
        limit = _LONGEST if self.precision is None else min(self.precision, _LONGEST)
        text = b""
        while len(text) < limit:
            at = gva + len(text)
            length = min(limit - len(text), _PIECE - at % _PIECE)
            try:
                part = memory(at, length)
            except MemoryFault:
                part = b""
            before, nul, _ = part.partition(b"\0")
            text += before
            if nul:
                return text
            if len(part) < length:
                return text + b"<cannot read %#x>" % (at + len(part))
        return text if self.precision is not None else text + b"..."


class Format(NamedTuple):
    """Parsed format: literal text and conversions, in order."""

    pieces: tuple[bytes | Conversion, ...]

    @classmethod
    def parse(cls, source: bytes) -> "Format":
        """Read *source*, the inside of a C string literal.

        Raises:
            AgentError: it has an escape or a conversion that is not known.
        """
        text = re.sub(_ESCAPE, _unescape, source)
        pieces: list[bytes | Conversion] = []
        end = 0
        for match in re.finditer(_CONVERSION, text):
            pieces += text[end : match.start()], b"%" if match["percent"] else _conversion(match)
            end = match.end()
        return cls((*(piece for piece in pieces if piece), text[end:]))

    @property
    def arguments(self) -> int:
        """Number of values that ``render`` takes."""
        return sum(isinstance(piece, Conversion) for piece in self.pieces)

    def render(self, values: Sequence[int], memory: Memory) -> bytes:
        """Return the text of *values*, elements of the agent's stack, ``arguments`` of them."""
        rest = iter(values)
        return b"".join(
            piece.render(next(rest), memory) if isinstance(piece, Conversion) else piece
            for piece in self.pieces
        )


def _unescape(match: re.Match[bytes]) -> bytes:
    octal, hexadecimal, letter = match.groups()
    if octal:
        return bytes([int(octal, 8) & 0xFF])
    if hexadecimal:
        return bytes([int(hexadecimal, 16)])
    if letter not in _ESCAPED:
        raise AgentError(f"a format has the unknown escape {_shown(match)}")
    return _ESCAPED[letter]


def _conversion(match: re.Match[bytes]) -> Conversion:
    if match["letter"] is None:
        raise AgentError("a format has a % that begins no conversion; write %% to print one")
    letter, size = match["letter"].decode(), (match["size"] or b"").decode()
    bits = _BITS.get(size) if letter in _INTEGERS else 64
    if bits is None or letter not in _INTEGERS + _FLOATS + "cps" or (letter in "cps" and size):
        raise AgentError(
            f"a format has the unknown conversion {_shown(match)}; known are %d %i %u %x %X %o "
            "%c %p %s, the integers with hh, h, l, ll, j, z or t"
        )
    width, precision = _number(match["width"]), match["precision"]
    limit = _number(precision) if precision is not None else None
    if max(width, limit or 0) > _WIDEST:
        raise AgentError(f"{_shown(match)} asks for more than {_WIDEST} characters")
    return Conversion(letter, match["flags"].decode(), width, limit, bits)


def _number(digits: bytes) -> int:
    """Read *digits*, of which Python reads no thousands; none are 0."""
    return int(digits.lstrip(b"0")[:9] or b"0")


def _shown(match: re.Match[bytes]) -> str:
    return printable(match[0].decode("ascii", "backslashreplace"))
