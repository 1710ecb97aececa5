"""The registers of a stop reply, spelled in one go; of none, nothing.

It reads none and does not choose them: ``registers.py`` has the rows.
"""

from binascii import hexlify
from collections.abc import Sequence
from struct import Struct

from gdbstub.aarch64.registers import EXPEDITED, Register


class Expedited:
    """Those of *registers* that a stop reply carries, and how: ``number:value;`` each.

    Numbers have two digits: LLDB takes no others for registers.
    """

    def __init__(self, registers: Sequence[Register]) -> None:
        """Prepare once; a client's registers never change."""
        self.rows = tuple(row for row in EXPEDITED if row in registers)
        self._template = b"".join(b"%02x:%%b;" % row.number for row in self.rows)
        self._cut = Struct("".join(f"{2 * row.size}s" for row in self.rows))

    def spell(self, data: bytes) -> bytes:
        """Spell the bytes of all ``rows``, one after another, as keys of a stop reply."""
        return self._template % self._cut.unpack(hexlify(data)) if data else b""

    def by_number(self, data: bytes) -> dict[str, str]:
        """The same as LLDB's JSON has them, by their numbers in decimal."""
        if not data:
            return {}
        values = zip(self.rows, self._cut.unpack(hexlify(data)), strict=True)
        return {str(row.number): value.decode() for row, value in values}
