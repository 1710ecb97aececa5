"""Names of a Linux kernel's functions, from the kallsyms that it has of itself in RAM.

VMCOREINFO tells where they are since Linux 6.0; no file is needed. All numbers are the guest's.
Source: linux/kernel/kallsyms.c, scripts/kallsyms.c.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import Final

from gdbstub.errors import MemoryFault, NotFound, printable
from gdbstub.linux.memory import pointer
from gdbstub.linux.vmcoreinfo import VmcoreInfo
from gdbstub.slices import spend

Read = Callable[[int, int], bytes]

_TOKENS: Final = 256
#: Most symbols that are believed, and the longest name: in tokens, and in letters with its type
#: (KSYM_NAME_LEN).
_MOST: Final = 1 << 21
_LONGEST: Final = 512
#: Bytes of names that are read at most.
_MOST_NAMES: Final = 16 << 20
_PIECE: Final = 64 << 10
#: Bytes that a token takes at most.
_TOKEN: Final = 64
#: A name as far behind the last symbol is none.
_FAR: Final = 1 << 20
#: Names that are skipped in a step.
_PASSED: Final = 16


class Kallsyms:
    """The symbols of one kernel, by address."""

    def __init__(self, info: VmcoreInfo, read: Read) -> None:
        """Read the addresses; names are read when asked for.

        Raises:
            NotFound: VMCOREINFO does not tell where they are, or they are damaged.
        """
        try:
            count = int.from_bytes(read(info.number("SYMBOL", "kallsyms_num_syms"), 4), "little")
            if not 0 < count <= _MOST:
                raise NotFound(f"the kernel's kallsyms are damaged: {count} symbols")
            place = info.number("SYMBOL", "kallsyms_offsets")
            offsets = read(place, 4 * count)
            #: Offsets of the symbols from the base, in order.
            self._offsets: array[int]
            if info.has("SYMBOL", "kallsyms_relative_base"):
                self._base = pointer(read, info.number("SYMBOL", "kallsyms_relative_base"))
                self._offsets = array("I", offsets)
            else:  # since Linux 7 each is from its own place
                places = [4 * number + offset for number, offset in enumerate(array("i", offsets))]
                self._base = place + places[0]
                self._offsets = array("q", (each - places[0] for each in places))
            self._names = info.number("SYMBOL", "kallsyms_names")
            self._table = info.number("SYMBOL", "kallsyms_token_table")
            index = read(info.number("SYMBOL", "kallsyms_token_index"), 2 * _TOKENS)
            self._index = array("H", index)
        except MemoryFault as fault:
            raise NotFound(f"the kernel's kallsyms cannot be read: {fault}") from None
        self._read = read
        # By number: offsets of names in their table, as far as that was walked.
        self._places = array("I", (0,))
        self._data = bytearray()

    def name(self, gva: int) -> str:
        """Return ``function+0xOFFSET`` for an address in the kernel; "" if it is in none."""
        offset = gva - self._base
        number = bisect_right(self._offsets, offset) - 1 if 0 <= offset < 1 << 32 else -1
        # Of several symbols at one address the first one counts, as in the kernel.
        if number > 0:
            number = bisect_left(self._offsets, self._offsets[number])
        if number < 0 or not 0 <= offset - self._offsets[number] <= _FAR:
            return ""  # also where the offsets are damaged: not in order
        try:
            text = self._name(number)
        except (MemoryFault, IndexError):
            return ""
        return f"{text}+{offset - self._offsets[number]:#x}" if text else ""

    def _name(self, number: int) -> str:
        place = self._place(number)
        length, start = self._length(place)
        tokens = self._bytes(start, length)
        text = b"".join(self._token(token) for token in tokens)
        if len(text) > _LONGEST:
            raise MemoryFault(f"a name of {len(text)} letters")
        return printable(text[1:].decode("ascii", "replace"))  # the first letter is the type

    def _place(self, number: int) -> int:
        """Return the offset of the name of symbol *number*."""
        places = self._places
        while len(places) <= number:
            if not len(places) % _PASSED:
                spend()
            length, start = self._length(places[-1])
            places.append(start + length)
        return places[number]

    def _length(self, place: int) -> tuple[int, int]:
        """Return the length in tokens of the name at *place*, and where its tokens are."""
        first = self._bytes(place, 1)[0]
        if first < 0x80:
            return first, place + 1
        length = first & 0x7F | self._bytes(place + 1, 1)[0] << 7  # since 6.1
        if length > _LONGEST:
            raise MemoryFault(f"a name of {length} tokens")
        return length, place + 2

    def _bytes(self, at: int, length: int) -> bytes:
        while len(self._data) < at + length:
            if len(self._data) > _MOST_NAMES:
                raise MemoryFault("the names of symbols are too many")
            self._data += self._read(self._names + len(self._data), _PIECE)
        return bytes(self._data[at : at + length])

    def _token(self, token: int) -> bytes:
        return self._read(self._table + self._index[token], _TOKEN).split(b"\0")[0]
