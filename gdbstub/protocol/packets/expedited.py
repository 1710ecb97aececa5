"""The registers of a stop reply, all encoded at once.

It reads none: ``thread_info`` does.
"""

from binascii import hexlify
from collections.abc import Iterable, Sequence
from struct import Struct

from gdbstub.architecture import Architecture, Register


def general_registers(registers: Sequence[Register]) -> tuple[Register, ...]:
    """Select the registers of the first one's feature."""
    return tuple(row for row in registers if row.feature == registers[0].feature)


def expedited_registers(
    architecture: Architecture, registers: Sequence[Register]
) -> Iterable[Register]:
    """Select the registers that a stop reply carries."""
    chosen = architecture.expedited or [
        row for row in general_registers(registers) if row.type in ("code_ptr", "data_ptr")
    ]
    return (row for row in chosen if row in registers)


class Expedited:
    """The expedited registers of a thread, ``number:value;`` each in a stop reply.

    Numbers have two digits: LLDB takes no others for registers.
    """

    def __init__(self, registers: Iterable[Register]) -> None:
        """Prepare to encode *registers*, in this order, again and again."""
        self.rows = tuple(registers)
        self._template = b"".join(b"%02x:%%b;" % row.number for row in self.rows)
        self._cut = Struct("".join(f"{2 * row.size}s" for row in self.rows))

    def encode(self, data: bytes) -> bytes:
        """Encode the bytes of all ``rows`` as keys of a stop reply; no bytes give no keys."""
        return self._template % self._cut.unpack(hexlify(data)) if data else b""

    def by_number(self, data: bytes) -> dict[str, str]:
        """Encode the bytes of all ``rows`` as LLDB's JSON has them: values by decimal number."""
        if not data:
            return {}
        values = zip(self.rows, self._cut.unpack(hexlify(data)), strict=True)
        return {str(row.number): value.decode() for row, value in values}
