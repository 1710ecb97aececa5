"""The packet that carries a line for the target itself, typed after ``monitor``.

It knows no command: the target does, if it has any.
"""

from typing import Final

from gdbstub.capabilities import Command, Monitor, monitor_commands
from gdbstub.errors import PacketError, StubError
from gdbstub.protocol.packets.client_state import ClientState, Reply, Work
from gdbstub.protocol.packets.console import console
from gdbstub.protocol.packets.registry import packet
from gdbstub.slices import in_slices
from gdbstub.target import Exited

#: Length of the longest line, in bytes: commands need not be quick with longer ones.
_LONGEST: Final = 1024


@packet("qRcmd,", "XX…", needs=monitor_commands)
def rcmd(client: ClientState, target: Monitor, line: bytes) -> Reply:
    """``qRcmd,command``: a command for the target itself, both ways in hex (GDB manual, E.4).

    Its output is sent ahead of the reply: only so LLDB shows it as text. So is the text of an error
    if the client could not show it otherwise: GDB before 16 shows only that there was an error.
    """
    if len(line) > _LONGEST:
        raise PacketError(f"a command of {len(line)} bytes, where at most {_LONGEST} are taken")
    text = line.decode("utf-8", "replace")
    command = Command(
        thread=client.general_thread,
        line=text,
        features=client.features,
        packets=client.packet_timings,
        stops=client.stop_timing,
        cache_hits=client.cache.hits,
    )
    if target.takes_long(command):
        return _work(client, target, command)
    text = _execute(client, target, command)
    if isinstance(client.target.report(), Exited):
        client.power_off()
    return (*console(_encode(text), client.packet_size), b"OK")


def _work(client: ClientState, target: Monitor, command: Command) -> Work:
    """Execute a command that takes long, and send its output a packet at a time."""
    text = yield from in_slices(lambda: _execute(client, target, command))
    yield from console(_encode(text), client.packet_size)
    return b"OK"


def _execute(client: ClientState, target: Monitor, command: Command) -> str:
    try:
        return target.monitor(command)
    except StubError as error:
        if b"error-message" in client.features:
            raise
        return f"{error}\n"


def _encode(text: str) -> bytes:
    return text.encode("ascii", "backslashreplace")
