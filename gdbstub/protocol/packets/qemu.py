"""QEMU's packets: physical addresses, and the interrupts of steps.

Only memory packets obey the mode: breakpoints and watchpoints are always at virtual addresses.
"""

from typing import Final

from gdbstub.capabilities import (
    InterruptsInSteps,
    PhysicalMemory,
    interrupts_in_steps,
    physical_memory,
)
from gdbstub.errors import PacketError
from gdbstub.protocol.packets.client_state import ClientState
from gdbstub.protocol.packets.registry import packet

#: Bits of ``sstep`` (qemu/include/hw/core/cpu.h): steps are on, and no interrupt comes in them.
_ENABLE: Final = 1
_NOIRQ: Final = 2


@packet("qqemu.Supported", needs=physical_memory)
def supported(client: ClientState, memory: PhysicalMemory) -> bytes:
    """``qqemu.Supported``: list QEMU's known packets (GDB manual, E.4, vendor prefixes)."""
    return b"PhyMemMode"


@packet("qqemu.PhyMemMode", needs=physical_memory)
def physical(client: ClientState, memory: PhysicalMemory) -> bytes:
    """``qqemu.PhyMemMode``: say 1 if addresses are physical (GDB manual, E.4, vendor prefixes)."""
    return b"%d" % (client.physical is not None)


@packet("Qqemu.PhyMemMode:", "n", needs=physical_memory)
def set_physical(client: ClientState, memory: PhysicalMemory, n: int) -> bytes:
    """``Qqemu.PhyMemMode:n``: addresses are physical from now on, or virtual where *n* is 0.

    Of the packets ``m M x X qSearch qCRC`` (GDB manual, E.4, vendor prefixes).
    """
    client.physical = memory if n else None
    return b"OK"


@packet("qqemu.sstepbits", needs=interrupts_in_steps)
@packet("Qqemu.sstepbits", needs=interrupts_in_steps)
def step_bits(client: ClientState, steps: InterruptsInSteps) -> bytes:
    """``qqemu.sstepbits``: name the bits of ``sstep`` (GDB manual, E.4, vendor prefixes).

    Tools tell a QEMU by it, and send it with a capital, too.
    """
    return b"ENABLE=%d,NOIRQ=%d" % (_ENABLE, _NOIRQ)


@packet("qqemu.sstep", needs=interrupts_in_steps)
@packet("Qqemu.sstep", needs=interrupts_in_steps)
def step_flags(client: ClientState, steps: InterruptsInSteps) -> bytes:
    """``qqemu.sstep``: say how steps are done (GDB manual, E.4, vendor prefixes)."""
    return b"0x%x" % (_ENABLE | (0 if steps.step_irqs else _NOIRQ))


@packet("Qqemu.sstep=", "n", needs=interrupts_in_steps)
@packet("Qqemu.sstep:", "n", needs=interrupts_in_steps)
def set_step_flags(client: ClientState, steps: InterruptsInSteps, n: int) -> bytes:
    """``Qqemu.sstep=n``: let interrupts into steps, or not (GDB manual, E.4, vendor prefixes)."""
    if n & ~_NOIRQ != _ENABLE:
        raise PacketError(f"sstep is {_ENABLE} or {_ENABLE | _NOIRQ}; steps cannot be switched off")
    steps.step_irqs = not n & _NOIRQ
    return b"OK"
