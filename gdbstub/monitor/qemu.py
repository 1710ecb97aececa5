"""Commands of QEMU's monitor that tools on top of GDB use, with QEMU's output.

The stub's own commands say more. Source: qemu/hmp-commands.hx, hmp-commands-info.hx.
"""

import re
import struct
from collections.abc import Callable
from typing import Final

from gdbstub import __version__
from gdbstub.aarch64.registers import CPSR, PC, SP, X
from gdbstub.aarch64.sysreg import PSTATE
from gdbstub.errors import InputError, MachineError, MemoryFault
from gdbstub.monitor.context import CommandContext, command

_FORMAT: Final = re.compile(r"/(\d*)([xduocbhwg]*)")
_SIZES: Final = {"b": 1, "h": 2, "w": 4, "g": 8}
_LINE: Final = 16
_MOST: Final = 64 << 10


def _octal(value: int, size: int) -> str:
    return f"0{value:0{-(-8 * size // 3)}o}"


def _signed(value: int, size: int) -> str:
    return str(value - (1 << 8 * size) if value >> 8 * size - 1 else value)


def _character(value: int, size: int) -> str:
    return repr(chr(value & 0xFF))


_SHOWN: Final[dict[str, Callable[[int, int], str]]] = {
    "x": lambda value, size: f"0x{value:0{2 * size}x}",
    "u": lambda value, size: str(value),
    "d": _signed,
    "o": _octal,
    "c": _character,
}


@command("xp", "[/FMT] PHYSICAL")
def xp(context: CommandContext, fmt: str | None, ipa: int) -> str:
    """Show RAM at a physical address as QEMU's xp does: /FMT is a count, x u d o or c, b h w or g.

    monitor dump shows bytes and their text.
    """
    if not (match := _FORMAT.fullmatch(fmt or "/")):
        raise InputError(f"{fmt!r} is no format: expected a count, x u d o c, and b h w g: /8xg")
    count = int(match[1] or 1)
    letters = match[2]
    size = next((_SIZES[each] for each in letters if each in _SIZES), 4)
    shown = _SHOWN[next((each for each in letters if each in _SHOWN), "x")]
    if count * size > _MOST:
        raise InputError(f"{count * size} bytes are too many at once: at most {_MOST}")
    data = context.debugger.read_physical(ipa, count * size) if count else b""
    if len(data) < count * size:
        raise MemoryFault(f"RAM ends at {ipa + len(data):#x}")
    lines = []
    for at in range(0, len(data), _LINE):
        line = data[at : at + _LINE]
        values = (int.from_bytes(line[n : n + size], "little") for n in range(0, len(line), size))
        lines.append(f"{ipa + at:016x}: " + " ".join(shown(value, size) for value in values))
    return "".join(f"{line}\n" for line in lines)


@command("gva2gpa", "ADDR")
def gva2gpa(context: CommandContext, gva: int) -> str:
    """Translate a virtual address for the current thread, as QEMU says it; see monitor phys."""
    try:
        mapping = context.breakpoints.memory.translate(context.index, gva)
    except MemoryFault:
        return "Unmapped\n"
    return f"gpa: {mapping.ipa:#x}\n"


@command("info version")
def version(context: CommandContext) -> str:
    """Show the version of this stub."""
    return f"kvm-gdbstub {__version__}\n"


@command("info mtree", "[-f]")
def mtree(context: CommandContext, flat: str | None) -> str:
    """Show where RAM is, in the lines that QEMU's info mtree -f has for it."""
    if (layout := context.machine.capabilities.layout) is None:
        raise MachineError("this machine does not say where its RAM is")
    lines = [
        f"  {ram.start:016x}-{ram.stop - 1:016x} (prio 0, ram): ram\n" for ram in layout.ram_ranges
    ]
    return "".join(
        ("FlatView #0\n", ' AS "memory", root: system\n', " Root memory region: system\n", *lines)
    )


@command("info registers", "[-a]")
def registers(context: CommandContext, every: str | None) -> str:
    """Show the current thread's general registers as QEMU does; with -a every thread's."""
    threads = range(len(context.machine.vcpus)) if every else (context.index,)
    return "".join(f"\nCPU#{index}\n{_general(context, index)}" for index in threads)


def _general(context: CommandContext, index: int) -> str:
    data = context.debugger.read_registers(index + 1, (PC, *X, SP, CPSR))
    pc, *general, sp = struct.unpack_from("<33Q", data)
    pstate = PSTATE(int.from_bytes(data[-CPSR.size :], "little"))
    values = [f"PC={pc:016x}", *(f"X{n:02}={value:016x}" for n, value in enumerate(general))]
    values.append(f"SP={sp:016x}")
    lines = [" ".join(values[at : at + 3]) for at in range(0, len(values), 3)]
    flags = "".join(name if getattr(pstate, name) else "-" for name in "NZCV")
    lines[0] = f" {lines[0]}"
    lines.append(f"PSTATE={int(pstate):08x} {flags} EL{pstate.EL}{'h' if pstate.SP else 't'}")
    return "".join(f"{line}\n" for line in lines)
