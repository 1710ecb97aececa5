"""Targets for what the lab's QEMU says: the replies of its monitor, and a table among them."""

import asyncio
import atexit
import contextlib
import shutil
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Final

from gdbstub.errors import LabError
from gdbstub.lab import monitor
from tests.fuzz.target import fuzz_target, only

#: Seconds to wait for a request before the next reply.
_TIMEOUT: Final = 0.05


@fuzz_target("usernet", 512)
def usernet(data: bytes) -> None:
    """Any table gives forwards with an address and two numbers."""
    for forward in monitor.forwards(data.decode("utf-8", "replace")):
        assert 0 <= forward.local_port < 100_000
        assert 0 <= forward.port < 100_000
        assert forward.address


class _Qemu:
    """A server of QMP that replies as a script says: a line to each request, then no more."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="fuzz-"))
        atexit.register(shutil.rmtree, self.directory, ignore_errors=True)
        self.socket = self.directory / "qmp"
        self.lines: list[bytes] = []
        ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True).start()
        ready.wait()

    async def _serve(self, ready: threading.Event) -> None:
        server = await asyncio.start_unix_server(self._answer, self.socket)
        ready.set()
        await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = iter(self.lines)
        try:
            writer.write(next(lines, b"") + b"\r\n")
            for line in lines:
                with contextlib.suppress(TimeoutError):  # it may be waiting, too
                    await asyncio.wait_for(reader.readline(), _TIMEOUT)
                writer.write(line + b"\r\n")
        except OSError:
            pass
        finally:
            writer.close()


@cache
def _qemu() -> _Qemu:
    return _Qemu()


@fuzz_target("qmp", 256)
def qmp(data: bytes) -> None:
    """Whatever the monitor's other end says gives text or LabError, and soon."""
    qemu = _qemu()
    qemu.lines = data.split(b"\n")[:8]
    with only(LabError):
        assert isinstance(monitor.command(qemu.socket, "info usernet"), str)
