"""The packet that brings a line for the target itself, typed after ``monitor``.

It knows no command: the target does, if it has any.
"""

from gdbstub.errors import StubError
from gdbstub.protocol.packets.client_state import ClientState, Reply
from gdbstub.protocol.packets.console import console
from gdbstub.protocol.packets.registry import packet
from gdbstub.target import Command, Exited, Monitor


@packet("qRcmd,", "XX…")
def rcmd(client: ClientState, line: bytes) -> Reply:
    """``qRcmd,command``: a command for the target itself, both ways in hex (GDB manual, E.4).

    Its output goes ahead of the reply: LLDB shows it as text only so. An error's text does,
    too, where the client could not show it: GDB before 16 says no more than that there was one.
    """
    if not isinstance(client.target, Monitor):
        return b""
    text = line.decode("utf-8", "replace")
    command = Command(
        *(client.general, text, client.features),
        *(client.packets, client.stops, client.cache.hits),
    )
    try:
        text = client.target.monitor(command)
    except StubError as error:
        if b"error-message" in client.features:
            raise
        text = f"{error}\n"
    if isinstance(client.target.report(), Exited):
        client.power_off()
    output = text.encode("ascii", "backslashreplace")
    return (*console(output, client.packet_size), b"OK")
