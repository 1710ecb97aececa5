"""A stub on this machine, without KVM: server, session and debug core over the tests' machine.

Its standard output has the address that it listens on; it ends with its standard input.
"""

import asyncio
import sys

from gdbstub.cli.serving.serve import STOP_WAIT_SECONDS
from gdbstub.debug.debugger import Debugger
from gdbstub.protocol.server import Server
from tests.fakes.machine import fake_machine


async def _serve() -> None:
    debugger = Debugger(fake_machine(bytes(0x1000)))
    async with Server(debugger, "127.0.0.1:0", stop_wait_timeout=STOP_WAIT_SECONDS) as server:
        print(server.remote, flush=True)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(_serve())
