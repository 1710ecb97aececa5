"""Commands of QEMU's monitor that tools on top of GDB use, with QEMU's output.

The stub's own commands say more. Source: qemu/hmp-commands.hx, hmp-commands-info.hx.
"""

import struct

from gdbstub import __version__
from gdbstub.aarch64.registers import CPSR, PC, SP, X
from gdbstub.aarch64.sysreg import PSTATE
from gdbstub.errors import MachineError, MemoryFault
from gdbstub.linux.hmp import parse_format, show_memory, show_ram
from gdbstub.monitor.context import CommandContext, command


@command("xp", "[/FMT] PHYSICAL")
def xp(context: CommandContext, fmt: str | None, ipa: int) -> str:
    """Show RAM at a physical address as QEMU's xp does: /FMT is a count, x u d o or c, b h w or g.

    monitor dump shows bytes and their text.
    """
    wanted = parse_format(fmt)
    data = context.debugger.read_physical(ipa, wanted.length) if wanted.length else b""
    if len(data) < wanted.length:
        raise MemoryFault(f"RAM ends at {ipa + len(data):#x}")
    return show_memory(ipa, data, wanted)


@command("gva2gpa", "ADDR")
def gva2gpa(context: CommandContext, gva: int) -> str:
    """Translate a virtual address for the current thread, as QEMU says it; see monitor phys."""
    try:
        mapping = context.breakpoints.memory.translate(context.translating(gva), gva)
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
    return show_ram(layout.ram_ranges)


@command("info kvm")
def kvm(context: CommandContext) -> str:
    """Say that the guest runs by KVM, in QEMU's words."""
    return "kvm support: enabled\n"


@command("info cpus")
def cpus(context: CommandContext) -> str:
    """List the vCPUs as QEMU does, with a star at that of the current thread."""
    return "".join(
        f"{'*' if context.is_current(index) else ' '} CPU #{index}:\n"
        for index in range(len(context.machine.vcpus))
    )


@command("gpa2hva", "PHYSICAL")
def gpa2hva(context: CommandContext, ipa: int) -> str:
    """Decline, as QEMU does for a device: a client is not told of this process's memory.

    The physical address is read by monitor xp; a --qmp socket tells more.
    """
    return f"Memory at address {ipa:#x} cannot be had from another process\n"


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
