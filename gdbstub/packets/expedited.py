"""The registers of a stop reply, spelled in one go.

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
        """Spell the bytes of all ``rows``, one after another."""
        return self._template % self._cut.unpack(hexlify(data))
