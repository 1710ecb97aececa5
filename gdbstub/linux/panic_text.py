"""Text of a Linux kernel's panic: its format, with the arguments of the call.

Source: linux/kernel/panic.c (panic, vpanic), Documentation/core-api/printk-formats.rst; Procedure
Call Standard for the Arm 64-bit Architecture, "Variable argument lists" (va_list).
"""

import re
import struct
from collections.abc import Callable, Iterator
from typing import Final

from gdbstub.aarch64.registers import X
from gdbstub.agent.printf import Format
from gdbstub.architecture import Register
from gdbstub.errors import AgentError, MemoryFault

Read = Callable[[int, int], bytes]

#: Registers that ``panic`` has arguments of its format in.
_IN_REGISTERS: Final = X[1:8]
#: struct va_list: the stack, the end of the general registers, and the offset of the next of them.
_LIST: Final = struct.Struct("<QQ8xi4x")
_WORD: Final = struct.Struct("<Q")
_MOST: Final = 16
#: Bytes that the kernel prints of a panic at most.
_LONGEST: Final = 1024


def render(text: bytes, function: str, register: Callable[[Register], int], read: Read) -> bytes:
    """Return what *function*, at its first instruction, prints of the format *text*.

    *text* is returned as it is where it cannot be rendered.
    """
    # The kernel's own conversions begin with %p; a backslash is none of C here.
    source = re.sub(rb"%p\w*", b"%#lx", text.replace(b"\\", rb"\\"))
    try:
        parsed = Format.parse(source)
        if function == "vpanic":
            values = list(_listed(register(X[1]), parsed.arguments, read))
        else:
            values = [register(each) for each in _IN_REGISTERS[: parsed.arguments]]
        if len(values) == parsed.arguments:
            return parsed.render(values, read)[:_LONGEST]
    except (AgentError, MemoryFault, struct.error):
        pass
    return text


def _listed(place: int, count: int, read: Read) -> Iterator[int]:
    """Yield the first *count* values of the ``va_list`` at *place*.

    Raises:
        MemoryFault: they cannot be read.
        struct.error: some of them cannot.
    """
    if not count:
        return
    stack, end, offset = _LIST.unpack(read(place, _LIST.size))
    for _ in range(min(count, _MOST)):
        if offset < 0:
            at, offset = end + offset, offset + _WORD.size
        else:
            at, stack = stack, stack + _WORD.size
        yield _WORD.unpack(read(at % (1 << 64), _WORD.size))[0]
