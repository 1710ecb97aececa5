"""Packets that insert and remove breakpoints and watchpoints.

``qSupported`` announces conditions and commands only of a target that evaluates them.
"""

from gdbstub.agent import Clauses
from gdbstub.capabilities import breakpoint_conditions
from gdbstub.errors import PacketError
from gdbstub.protocol.packets.client_state import ClientState
from gdbstub.protocol.packets.registry import feature, packet
from gdbstub.target import BreakpointKind

feature("ConditionalBreakpoints+", needs=breakpoint_conditions)
feature("BreakpointCommands+", needs=breakpoint_conditions)


@packet("Z0", ",addr,kind[clauses]", BreakpointKind.SOFTWARE, feature="swbreak+")
@packet("Z1", ",addr,kind[clauses]", BreakpointKind.HARDWARE, feature="hwbreak+")
def insert_breakpoint(
    client: ClientState, kind: BreakpointKind, gva: int, length: int, clauses: Clauses | None
) -> bytes:
    """``Z type,addr,kind[;…]``: insert a breakpoint, perhaps with clauses (GDB manual, E.2).

    Clauses are ``[;cond_list…][;cmds:persist,cmd_list…]``: conditions and commands. Sent again for
    a breakpoint that is inserted, the packet replaces them.
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
    client.target.insert(client.general_thread, kind, gva, _checked(client, kind, gva, length))
    return b"OK"


@packet("z0", ",addr,kind[;…]", BreakpointKind.SOFTWARE)
@packet("z1", ",addr,kind[;…]", BreakpointKind.HARDWARE)
@packet("z2", ",addr,kind[;…]", BreakpointKind.WRITE)
@packet("z3", ",addr,kind[;…]", BreakpointKind.READ)
@packet("z4", ",addr,kind[;…]", BreakpointKind.ACCESS)
def remove(client: ClientState, kind: BreakpointKind, gva: int, length: int) -> bytes:
    """``z type,addr,kind``: remove a breakpoint or watchpoint (GDB manual, E.2)."""
    client.target.remove(client.general_thread, kind, gva, _checked(client, kind, gva, length))
    return b"OK"


def _checked(client: ClientState, kind: BreakpointKind, gva: int, length: int) -> int:
    """Return *length*, checked: for a breakpoint it is the kind of instruction to break at.

    Raises:
        PacketError: there can be no such instruction, or no such range to watch.
    """
    if kind in (BreakpointKind.SOFTWARE, BreakpointKind.HARDWARE):
        architecture = client.architecture
        kinds, code = architecture.breakpoint_kinds, architecture.instruction_set
        if kinds and length not in kinds:
            known = " or ".join(map(str, kinds))
            raise PacketError(
                f"breakpoints are for {code} code, whose kind is {known}: not {length}"
            )
        if gva % architecture.instruction_alignment:
            raise PacketError(f"no {code} instruction is at {gva:#x}")
    elif not length or gva + length > 1 << 64:
        raise PacketError(f"cannot watch {length} bytes at {gva:#x}")
    return length
