"""Session with a client that comes while another one is served.

It does no I/O and touches no target.
"""

from gdbstub import rsp
from gdbstub.errors import PacketError, reply_for


class Refusal:
    """Session with a client that is not served, because another one is. GDB is told why.

    GDB shows an error's text in the reply to ``qSupported``, its first packet. LLDB begins with
    another packet and shows none.
    """

    def __init__(self, why: str) -> None:
        """Begin; *why* is the error's text."""
        self._error = reply_for(PacketError(why), textual=True)
        self._connection = rsp.Connection()
        #: True if nothing more is sent.
        self.over = False

    def receive(self, data: bytes) -> bytes:
        """Take bytes that arrived; return bytes to send. Never raises."""
        out = b""
        for event in () if self.over else self._connection.receive(data):
            out += self._connection.answer(event) or b""
            if isinstance(event, rsp.Packet):
                self.over = True
                known = event.data.startswith(b"qSupported")
                return out + self._connection.send(self._error) if known else out
        return out
