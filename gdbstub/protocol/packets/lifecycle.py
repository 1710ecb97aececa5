"""Packets that detach from the guest, kill it, attach to it, or start it again.

In extended mode (``!``) the session goes on without a guest; else it ends.
"""

from typing import Final

from gdbstub.capabilities import Restartable, restartable
from gdbstub.errors import NoGuest, PacketError
from gdbstub.protocol.packets.client_state import ClientState
from gdbstub.protocol.packets.registry import packet
from gdbstub.protocol.packets.stop import stop_reply
from gdbstub.target import Exited

#: Largest process id: clients read one as an ``int``.
_LARGEST_PID: Final = (1 << 31) - 1


@packet("!", without_guest=True)
def extended_mode(client: ClientState) -> bytes:
    """``!``: the session goes on without a guest from now on (GDB manual, E.2)."""
    client.extended = True
    return b"OK"


@packet("qAttached", "[:pid]", without_guest=True)
def attached(client: ClientState, pid: int | None) -> bytes:
    """``qAttached``: the guest was there before, so quitting detaches (GDB manual, E.4)."""
    return b"1"


@packet("vAttach", ";pid", halts=True)
def attach(client: ClientState, pid: int) -> bytes:
    """``vAttach;pid``: halt the guest that was detached (GDB manual, E.2).

    There is one guest, whose process id is *pid* from now on for a client that uses such.
    """
    if client.guest_gone or isinstance(client.target.report(), Exited):
        raise NoGuest("the guest has ended; run begins anew")
    if not 0 < pid <= _LARGEST_PID:
        raise PacketError(f"process id {pid:#x}: expected one from 1 to {_LARGEST_PID:#x}")
    client.attach()
    client.process = client.process and pid
    return stop_reply(client, client.target.report())


@packet("vRun;", "program[;words]", halts=True, needs=restartable)
def run(client: ClientState, target: Restartable, program: bytes, words: bytes | None) -> bytes:
    """``vRun;filename[;argument]…``: start the guest over, halted (GDB manual, E.2).

    The guest is the one that the stub was started with. *filename* is ignored: it names the
    file that the client has symbols of.
    """
    if words:
        raise PacketError("a guest has no arguments; its command line is the stub's --append")
    return _restart(client, target)


@packet("R", "[n]", halts=True, needs=restartable)
def restart(client: ClientState, target: Restartable, n: int | None) -> None:
    """``R XX``: start the guest over; the packet has no reply (GDB manual, E.2)."""
    _restart(client, target)


def _restart(client: ClientState, target: Restartable) -> bytes:
    """Start the guest over; return the stop reply, whose thread becomes the current one."""
    # A client takes none of its breakpoints for inserted in a guest that it starts.
    client.target.release()
    target.reset()
    client.attach()
    return stop_reply(client, client.target.report())


@packet("D", "[;pid]", without_guest=True)
def detach(client: ClientState, pid: int | None) -> bytes:
    """``D``: detach from the guest and let it run (GDB manual, E.2)."""
    _detach(client)
    return b"OK"


@packet("vKill", ";pid", while_running=True, without_guest=True)
def kill_process(client: ClientState, pid: int) -> bytes:
    """``vKill;pid``: end the guest (GDB manual, E.2)."""
    _kill(client)
    return b"OK"


@packet("k", while_running=True, without_guest=True)
def quit_client(client: ClientState) -> None:
    """``k``: end the session, without a reply; in extended mode kill the guest (GDB manual, E.2).

    Outside extended mode it does not end the guest: LLDB sends it whenever it quits, and GDB
    after ``vKill``.
    """
    if client.extended:
        _kill(client)
    else:
        _detach(client)


def _detach(client: ClientState) -> None:
    if client.kill_on_disconnect:
        _kill(client)
    elif client.attached:
        client.target.detach()
        client.detach()


def _kill(client: ClientState) -> None:
    if not client.guest_gone:
        client.target.kill()
    client.kill()
