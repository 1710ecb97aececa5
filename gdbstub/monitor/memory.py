"""Memory commands: translation by the current thread's tables, and the contents of RAM.

They change nothing, and read no device.
"""

from typing import Final

from gdbstub.aarch64.walk import render
from gdbstub.errors import InputError, MemoryFault
from gdbstub.monitor.context import CommandContext, command

_LINE: Final = 16
_DUMPED: Final = 4 * _LINE
_MOST: Final = 64 << 10
_PRINTABLE: Final = range(0x20, 0x7F)


@command("walk", "ADDR")
def walk(context: CommandContext, gva: int) -> str:
    """Show how the current thread's translation tables translate a virtual address.

    One line for each table: its level, its physical address and the index, the descriptor, and
    the descriptor's type and attributes; then the physical address.
    """
    return render(context.breakpoints.memory.walk(context.translating(gva), gva)) + "\n"


@command("phys", "ADDR")
def phys(context: CommandContext, gva: int) -> str:
    """Translate a virtual address to a physical one for the current thread."""
    mapping = context.breakpoints.memory.translate(context.translating(gva), gva)
    try:
        context.machine.read_memory(mapping.ipa, 1)
        what = "RAM"
    except MemoryFault:
        what = "no RAM"
    return f"{gva:#x} is physical {mapping.ipa:#x}, {what}\n"


@command("dump", "PHYSICAL [LENGTH]")
def dump(context: CommandContext, ipa: int, length: int | None) -> str:
    """Show bytes at a physical address, 64 by default, as they are in RAM.

    Inserted breakpoints show. GDB's own commands hide them.
    """
    wanted = length or _DUMPED
    if wanted > _MOST:
        raise InputError(f"{wanted} bytes are too many at once: at most {_MOST}")
    data = context.machine.read_memory(ipa, wanted)
    lines = [_line(ipa + at, data[at : at + _LINE]) for at in range(0, len(data), _LINE)]
    if len(data) < wanted:
        lines.append(f"RAM ends at {ipa + len(data):#x}\n")
    return "".join(lines)


def _line(ipa: int, data: bytes) -> str:
    octets = f"{data[:8].hex(' ')}  {data[8:].hex(' ')}"
    text = "".join(chr(octet) if octet in _PRINTABLE else "." for octet in data)
    return f"{ipa:#012x}  {octets:<48}  {text}\n"
