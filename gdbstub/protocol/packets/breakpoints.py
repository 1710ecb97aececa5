"""Packets that insert and remove breakpoints and watchpoints.

Conditions and commands are evaluated by targets that can; of others ``qSupported`` claims neither.
"""

from gdbstub.agent import Clauses
from gdbstub.errors import PacketError
from gdbstub.protocol.packets.client_state import Client
from gdbstub.protocol.packets.registry import feature, packet
from gdbstub.target import Kind, conditional

feature("ConditionalBreakpoints+", needs=conditional)
feature("BreakpointCommands+", needs=conditional)


@packet("Z0", ",addr,kind[clauses]", Kind.SOFTWARE, feature="swbreak+")
@packet("Z1", ",addr,kind[clauses]", Kind.HARDWARE, feature="hwbreak+")
def insert_breakpoint(
    client: Client, kind: Kind, gva: int, length: int, clauses: Clauses | None
) -> bytes:
    """``Z type,addr,kind[;…]``: insert a breakpoint, perhaps with clauses (GDB manual, E.2).

    Those are ``[;cond_list…][;cmds:persist,cmd_list…]``: conditions and commands. Sent
    again for one that is there, it changes its conditions and commands.
    """
    insert(client, kind, gva, length)
    if target := conditional(client.target):
        target.attach(kind, gva, clauses or Clauses())
    return b"OK"


@packet("Z2", ",addr,kind[;…]", Kind.WRITE)
@packet("Z3", ",addr,kind[;…]", Kind.READ)
@packet("Z4", ",addr,kind[;…]", Kind.ACCESS)
def insert(client: Client, kind: Kind, gva: int, length: int) -> bytes:
    """``Z type,addr,kind``: insert a breakpoint or watchpoint (GDB manual, E.2)."""
    client.target.insert(client.general, kind, gva, _checked(kind, gva, length))
    return b"OK"


@packet("z0", ",addr,kind[;…]", Kind.SOFTWARE)
@packet("z1", ",addr,kind[;…]", Kind.HARDWARE)
@packet("z2", ",addr,kind[;…]", Kind.WRITE)
@packet("z3", ",addr,kind[;…]", Kind.READ)
@packet("z4", ",addr,kind[;…]", Kind.ACCESS)
def remove(client: Client, kind: Kind, gva: int, length: int) -> bytes:
    """``z type,addr,kind``: remove a breakpoint or watchpoint (GDB manual, E.2)."""
    client.target.remove(client.general, kind, gva, _checked(kind, gva, length))
    return b"OK"


def _checked(kind: Kind, gva: int, length: int) -> int:
    """*length*, which for a breakpoint is the instruction's size; ours are A64, 4 bytes."""
    if kind in (Kind.SOFTWARE, Kind.HARDWARE):
        if length != 4:
            raise PacketError(f"breakpoints are for A64 code, whose kind is 4: not {length}")
        if gva % 4:
            raise PacketError(f"no A64 instruction is at {gva:#x}")
    elif not length or gva + length > 1 << 64:
        raise PacketError(f"cannot watch {length} bytes at {gva:#x}")
    return length
