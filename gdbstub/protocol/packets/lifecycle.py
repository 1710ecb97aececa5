"""Packets by which a client leaves a guest, ends it, and begins with one again.

In extended mode (``!``) the conversation outlasts the guest; else it ends with it.
"""

from gdbstub.capabilities import Restartable, restartable
from gdbstub.errors import NoGuest, PacketError
from gdbstub.protocol.packets.client_state import ClientState
from gdbstub.protocol.packets.registry import packet
from gdbstub.protocol.packets.stop import stop_reply
from gdbstub.target import Exited


@packet("!", idle=True)
def extended_mode(client: ClientState) -> bytes:
    """``!``: the conversation outlasts the guest from now on (GDB manual, E.2)."""
    client.extended = True
    return b"OK"


@packet("qAttached", "[:pid]", idle=True)
def attached(client: ClientState, pid: int | None) -> bytes:
    """``qAttached``: the guest was there before, so quitting detaches (GDB manual, E.4)."""
    return b"1"


@packet("vAttach", ";pid", halts=True)
def attach(client: ClientState, pid: int) -> bytes:
    """``vAttach;pid``: halt the guest that was left alone (GDB manual, E.2).

    There is one guest, whatever *pid* is.
    """
    if client.guest_gone or isinstance(client.target.report(), Exited):
        raise NoGuest("the guest has ended; run begins anew")
    client.attach()
    return stop_reply(client, client.target.report())


@packet("vRun;", "program[;words]", halts=True, needs=restartable)
def run(client: ClientState, target: Restartable, program: bytes, words: bytes | None) -> bytes:
    """``vRun;filename[;argument]…``: start the guest over, halted (GDB manual, E.2).

    It is the guest that the stub was started with, whatever *filename* is: that names what
    the client has symbols of.
    """
    if words:
        raise PacketError("a guest has no arguments; its command line is the stub's --append")
    return _restart(client, target)


@packet("R", "[n]", halts=True, needs=restartable)
def restart(client: ClientState, target: Restartable, n: int | None) -> None:
    """``R XX``: start the guest over; nobody waits for a reply (GDB manual, E.2)."""
    _restart(client, target)


def _restart(client: ClientState, target: Restartable) -> bytes:
    """Start over; the stop reply, whose thread is the current one even if nobody hears it."""
    # A client thinks none of its breakpoints inserted in what it starts.
    client.target.release()
    target.reset()
    client.attach()
    return stop_reply(client, client.target.report())


@packet("D", "[;pid]", idle=True)
def detach(client: ClientState, pid: int | None) -> bytes:
    """``D``: leave the guest alone and let it run (GDB manual, E.2)."""
    _leave(client)
    return b"OK"


@packet("vKill", ";pid", always=True, idle=True)
def kill_process(client: ClientState, pid: int) -> bytes:
    """``vKill;pid``: end the guest (GDB manual, E.2)."""
    _kill(client)
    return b"OK"


@packet("k", always=True, idle=True)
def quit_client(client: ClientState) -> None:
    """``k``: the client goes; nobody waits for a reply (GDB manual, E.2).

    No reason to end a guest: LLDB says it whenever it quits, GDB behind ``vKill``. In extended
    mode nobody goes, and the guest ends.
    """
    if client.extended:
        _kill(client)
    else:
        _leave(client)


def _leave(client: ClientState) -> None:
    if client.kill_on_disconnect:
        _kill(client)
    elif client.attached:
        client.target.detach()
        client.leave(guest_gone=False)


def _kill(client: ClientState) -> None:
    if not client.guest_gone:
        client.target.kill()
    client.leave(guest_gone=True)
