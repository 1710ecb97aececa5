"""Packets that insert and remove breakpoints and watchpoints.

Conditions and commands are evaluated by targets that can; of others ``qSupported`` claims neither.
"""

from gdbstub.agent import Clauses
from gdbstub.errors import PacketError
from gdbstub.protocol.packets.client_state import ClientState
from gdbstub.protocol.packets.registry import feature, packet
from gdbstub.target import BreakpointKind, breakpoint_conditions

feature("ConditionalBreakpoints+", needs=breakpoint_conditions)
feature("BreakpointCommands+", needs=breakpoint_conditions)


@packet("Z0", ",addr,kind[clauses]", BreakpointKind.SOFTWARE, feature="swbreak+")
@packet("Z1", ",addr,kind[clauses]", BreakpointKind.HARDWARE, feature="hwbreak+")
def insert_breakpoint(
    client: ClientState, kind: BreakpointKind, gva: int, length: int, clauses: Clauses | None
) -> bytes:
    """``Z type,addr,kind[;…]``: insert a breakpoint, perhaps with clauses (GDB manual, E.2).

    Those are ``[;cond_list…][;cmds:persist,cmd_list…]``: conditions and commands. Sent
    again for one that is there, it changes its conditions and commands.
    """
    insert(client, kind, gva, length)
    if target := breakpoint_conditions(client.target):
        target.attach(kind, gva, clauses or Clauses())
    return b"OK"


@packet("Z2", ",addr,kind[;…]", BreakpointKind.WRITE)
@packet("Z3", ",addr,kind[;…]", BreakpointKind.READ)
@packet("Z4", ",addr,kind[;…]", BreakpointKind.ACCESS)
def insert(client: ClientState, kind: BreakpointKind, gva: int, length: int) -> bytes:
    """``Z type,addr,kind``: insert a breakpoint or watchpoint (GDB manual, E.2)."""
    client.target.insert(client.general, kind, gva, _checked(kind, gva, length))
    return b"OK"


@packet("z0", ",addr,kind[;…]", BreakpointKind.SOFTWARE)
@packet("z1", ",addr,kind[;…]", BreakpointKind.HARDWARE)
@packet("z2", ",addr,kind[;…]", BreakpointKind.WRITE)
@packet("z3", ",addr,kind[;…]", BreakpointKind.READ)
@packet("z4", ",addr,kind[;…]", BreakpointKind.ACCESS)
def remove(client: ClientState, kind: BreakpointKind, gva: int, length: int) -> bytes:
    """``z type,addr,kind``: remove a breakpoint or watchpoint (GDB manual, E.2)."""
    client.target.remove(client.general, kind, gva, _checked(kind, gva, length))
    return b"OK"


def _checked(kind: BreakpointKind, gva: int, length: int) -> int:
    """*length*, which for a breakpoint is the instruction's size; ours are A64, 4 bytes."""
    if kind in (BreakpointKind.SOFTWARE, BreakpointKind.HARDWARE):
        if length != 4:
            raise PacketError(f"breakpoints are for A64 code, whose kind is 4: not {length}")
        if gva % 4:
            raise PacketError(f"no A64 instruction is at {gva:#x}")
    elif not length or gva + length > 1 << 64:
        raise PacketError(f"cannot watch {length} bytes at {gva:#x}")
    return length
