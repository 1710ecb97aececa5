"""The fixtures of the lldb ring: a guest, a stub that serves it, and LLDB."""

from collections.abc import Callable

import pytest

from tests.bounds import HANGS
from tests.gdb.served import Served, guest, serving
from tests.lldb.debugger import Interactive, lldb

__all__ = ["guest", "lldb_client", "serve"]


Serve = Callable[..., "Client"]


class Client(Served):
    """Runs LLDB against one stub, as often as wanted."""

    def __call__(self, *commands: str) -> str:
        """Attach, run *commands*, quit; all that LLDB said."""
        return lldb(self.stub.remote, self.guest.elf, *commands, timeout=HANGS)

    def begin(self) -> Interactive:
        """Attach and wait to be typed at."""
        return Interactive(self.stub.remote, self.guest.elf)

    def finish(self, session: Interactive, *commands: str) -> str:
        """End what ``begin`` began; all that LLDB said."""
        return session.finish(*commands, timeout=HANGS)


serve = serving(Client)


@pytest.fixture
def lldb_client(serve: Serve) -> Client:
    """LLDB against a guest of one vCPU, halted at its first instruction."""
    return serve()
