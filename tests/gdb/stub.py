"""Server, debugger and fake machine in this process, on an event loop of their own."""

import asyncio
import queue
import threading
from typing import Self

from gdbstub.cli.serving.serve import STOP_WAIT_SECONDS
from gdbstub.debug.extensions import Observer
from gdbstub.linux.kaslr import NO_PROGRAM, GuestProgram
from gdbstub.monitor import monitored_debugger
from gdbstub.protocol.endpoint import Tcp
from gdbstub.protocol.server import Server
from tests.bounds import HANGS
from tests.fakes.machine import FakeMachine


class Happenings(Observer):
    """Queue of the debugger's events, on which a test waits."""

    def __init__(self) -> None:
        self.queue: queue.Queue[str] = queue.Queue()

    def resumed(self) -> None:
        self.queue.put("resume")

    def client_left(self) -> None:
        self.queue.put("release")

    def killed(self) -> None:
        self.queue.put("kill")


class Stub:
    """Serves *machine* on a free port while it is entered."""

    def __init__(self, machine: FakeMachine, program: GuestProgram = NO_PROGRAM) -> None:
        self.machine = machine
        self.remote = ""
        self.debugger = monitored_debugger(machine, program)
        self._happenings = Happenings()
        self.debugger.observers.append(self._happenings)
        self._ready: queue.Queue[str] = queue.Queue()
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._life, name="stub")

    def __enter__(self) -> Self:
        self._thread.start()
        self.remote = self._ready.get(timeout=HANGS)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(HANGS)
        self.machine.close()
        assert not self._thread.is_alive()

    def expect(self, what: str) -> None:
        """Wait until *what* has been asked of the debugger, and done; older news is dropped."""
        while self._happenings.queue.get(timeout=HANGS) != what:
            pass

    def expect_end(self) -> None:
        """Wait until the server says that nothing is left to serve."""
        assert self._ended.wait(HANGS)

    def _life(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = Server(self.debugger, Tcp("127.0.0.1", 0), stop_wait_timeout=STOP_WAIT_SECONDS)
        await server.start()
        self._ready.put(server.remote)
        ended = asyncio.ensure_future(server.wait_ended())
        ended.add_done_callback(lambda _: self._ended.set())
        await self._over.wait()
        ended.cancel()
        await server.close()
