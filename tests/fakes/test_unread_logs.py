"""Whole sessions over the fake machine whose logs nobody reads: no client waits for them."""

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from gdbstub import rsp
from gdbstub.cli.logs import Messages
from gdbstub.cli.serving import serve
from gdbstub.cli.settings.serve import ServeSettings
from gdbstub.linux.kaslr import NO_PROGRAM
from gdbstub.protocol.endpoint import Unix
from gdbstub.protocol.record import Recorder
from tests.bounds import HANGS
from tests.fakes.machine import fake_machine
from tests.fakes.ram import BASE

#: Reads of 2 KiB whose log is more than a pipe and what is kept hold.
_READS: Final = 600


@contextmanager
def fifo(tmp_path: Path) -> Iterator[Recorder | None]:
    """Record to a FIFO whose reader does not read."""
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    with serve.recording(str(tmp_path / "fifo")) as recorder:
        yield recorder
        os.close(reader)


@contextmanager
def standard_error(_: Path) -> Iterator[None]:
    """Log every packet to a standard error that nobody reads."""
    reader, writer = os.pipe()
    log = logging.getLogger("gdbstub")
    with open(writer, "w") as stream, Messages(stream) as messages:
        handler = logging.StreamHandler(messages)
        log.addHandler(handler)
        log.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            log.removeHandler(handler)
            log.setLevel(logging.NOTSET)
            os.close(reader)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("unread", [fifo, standard_error])
async def test_a_client_is_served_and_signals_are_heard(
    unread: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "_RECORD_SECONDS", 0.01)
    assert callable(unread)
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    ready = asyncio.Event()
    machine = fake_machine(bytes.fromhex("00000014"))
    settings = ServeSettings(Unix(str(tmp_path / "gdb")))
    with unread(tmp_path) as recorder:
        served = asyncio.ensure_future(
            serve.serve(
                machine, NO_PROGRAM, settings, stopped, recorder=recorder,
                started=lambda _: ready.set(),
            )
        )  # fmt: skip
        await ready.wait()
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "gdb"))
        for _ in range(_READS):
            writer.write(rsp.encode(b"m%x,800" % BASE))
            await asyncio.wait_for(reader.readuntil(b"#"), HANGS)
        # A guest that runs is interrupted, and the stub ended.
        writer.write(rsp.encode(b"c") + b"\x03")
        assert b"$T02" in await asyncio.wait_for(reader.readuntil(b"#"), HANGS)
        stopped.set_result(128 + signal.SIGTERM)
        assert await asyncio.wait_for(served, HANGS) == 128 + signal.SIGTERM
        writer.close()
    machine.close()
