"""The fixtures of the gdb ring: a guest, a stub that serves it, and gdb."""

import os
import subprocess
from collections.abc import Callable
from typing import Final

import pytest

from gdbstub.protocol.packets.client_state import GUEST
from tests.bounds import HANGS
from tests.gdb.build import BuiltGuest
from tests.gdb.served import Served, guest, serving
from tests.gdb.stub import Stub

__all__ = ["gdb", "guest", "serve"]

_SETTINGS: Final = ("set confirm off", "set width 0", "set style enabled off")

Serve = Callable[..., "Client"]


def without_process(output: str) -> str:
    """*output* as of a GDB before 12, which does not name the guest by a process id."""
    for named, plain in ((f"Thread {GUEST}.", "Thread "), (f"process {GUEST}", "Remote target")):
        output = output.replace(named, plain)
    return output


class Client(Served):
    """Runs gdb against one stub, as often as wanted."""

    def __init__(self, stub: Stub, guest: BuiltGuest) -> None:
        super().__init__(stub, guest)
        #: The kind of target by which gdb attaches.
        self.target = "remote"
        #: Text of a complaint of gdb's that a test expects.
        self.expected = ""

    def __call__(self, *commands: str) -> str:
        """Attach, run *commands*, quit; all that gdb said."""
        process = self.begin(*commands)
        return self.finish(process)

    def begin(self, *commands: str) -> "subprocess.Popen[str]":
        """Start gdb and come back at once."""
        lines = (*_SETTINGS, f"target {self.target} {self.stub.remote}", *commands)
        return subprocess.Popen(
            [
                *("gdb-multiarch", "-nx", "-nh", "-batch"),
                *(word for line in lines for word in ("-ex", line)),
                str(self.guest.elf),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Its own words, and nothing of this user's.
            env={**os.environ, "LC_ALL": "C", "HOME": str(self.guest.elf.parent)},
        )

    def finish(self, process: "subprocess.Popen[str]") -> str:
        """Wait for gdb's end; nothing may have displeased it."""
        try:
            output, _ = process.communicate(timeout=HANGS)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            pytest.fail(f"gdb did not end; it said:\n{output}")
        for complaint in ("warning:", "Remote failure", "packet error", "internal-error"):
            assert complaint not in output.replace(self.expected, ""), output
        return without_process(output)


serve = serving(Client)


@pytest.fixture
def gdb(serve: Serve) -> Client:
    """Gdb against a guest of one vCPU, halted at its first instruction."""
    return serve()
