"""A session while it writes the core file of ``--vmcore-on``, which waits for its reader."""

import asyncio
import json
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import zstandard

from gdbstub import rsp
from gdbstub.capabilities import Relocation
from gdbstub.cli.serving.serve import serve
from gdbstub.cli.settings.serve import ServeSettings
from gdbstub.debug.debugger import Debugger
from gdbstub.linux.handed_out import HANDED_OUT, HEADER
from gdbstub.linux.kaslr import NO_PROGRAM
from gdbstub.linux.stop_on import StopOn
from gdbstub.protocol.endpoint import Unix
from tests.bounds import HANGS
from tests.fakes.machine import FakeMachine, fake_machine
from tests.fakes.ram import BASE

_NOP: Final = bytes.fromhex("1f2003d5")
_LOOP: Final = bytes.fromhex("00000014")
_PANIC: Final = BASE + 4
_STOPPED: Final = b"$T06"


class Here:
    """A session whose guest panics at its second instruction."""

    def __init__(self, directory: Path, **settings: Any) -> None:  # noqa: ANN401
        self.machine: FakeMachine = fake_machine(_NOP * 2 + _LOOP)
        self.debugger: Debugger | None = None
        self.stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.gdb, self.qmp = directory / "gdb", directory / "qmp"
        given = {"vmcore_on": ("panic",), "inner": True, **settings}
        self.settings = ServeSettings(
            Unix(str(self.gdb)), qmp=Unix(str(self.qmp)), vmcore=str(directory / "core"), **given
        )
        self.lines = asyncio.StreamReader()
        self.session: asyncio.Task[int]

    def begin(self, debugger: Debugger) -> None:
        kernel: Any = type("Kernel", (), {"functions": {"panic": _PANIC}})
        place = Relocation(BASE, 0)
        points = StopOn(kernel, ("panic",), lambda: place, debugger.machine, debugger.memory)
        debugger.stop_points.append(points)
        self.debugger = debugger

    async def run(self) -> int:
        return await serve(self.machine, NO_PROGRAM, self.settings, self.stopped, begin=self.begin)

    async def said(self, start: bytes) -> bytes:
        """Return the next line on standard error that begins so."""
        while not (line := await asyncio.wait_for(self.lines.readline(), HANGS)).startswith(start):
            assert line, f"no line {start!r}"
        return line

    async def fifo(self) -> Path:
        """Return the FIFO that waits for its reader."""
        match = HANDED_OUT.fullmatch(await self.said(b"gdbstub: core file"))
        assert match
        return Path(match[1].decode())


Start = Callable[..., AbstractAsyncContextManager[Here]]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Start a session, in the test itself: capture changes standard error before that."""

    @asynccontextmanager
    async def started(**settings: Any) -> AsyncIterator[Here]:  # noqa: ANN401
        here = Here(tmp_path, **settings)
        ours, theirs = os.pipe()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(here.lines), os.fdopen(ours, "rb")
        )
        with os.fdopen(theirs, "w") as stderr, monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stderr)
            here.session = asyncio.ensure_future(here.run())
            yield here
        transport.close()
        here.machine.close()

    return started


async def until_it_panics(here: Here) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect a client that continues the guest."""
    await here.said(b"gdbstub: listening")
    reader, writer = await asyncio.open_unix_connection(str(here.gdb))
    writer.write(b"+" + rsp.encode(b"QStartNoAckMode") + rsp.encode(b"vCont;c"))
    assert await asyncio.wait_for(reader.readuntil(b"#9a"), HANGS) == b"+$OK#9a"
    return reader, writer


async def of_qmp(here: Here) -> bool:
    """Return True if a client of QMP hears that the guest runs."""
    reader, writer = await asyncio.open_unix_connection(str(here.qmp))
    for name in ("qmp_capabilities", "query-status"):
        writer.write(b'{"execute": "%b"}\n' % name.encode())
    lines = [json.loads(await asyncio.wait_for(reader.readline(), HANGS)) for _ in range(3)]
    await closed(writer)
    return bool(lines[2]["return"]["running"])


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


async def reply(reader: asyncio.StreamReader) -> bytes:
    """Return the next frame but those of text."""
    while True:
        frame = await asyncio.wait_for(reader.readuntil(b"#"), HANGS)
        await asyncio.wait_for(reader.readexactly(2), HANGS)
        if not frame.lstrip(b"+").startswith(b"$O") or frame.endswith(b"$OK#"):
            return frame


async def taken(fifo: Path) -> bytes:
    """Read the file to its end, as the side outside of a lab does."""

    def read() -> bytes:
        with fifo.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
            data: bytes = stream.read()
        assert Path(f"{fifo}.whole").exists()
        fifo.unlink()
        return data

    return await asyncio.to_thread(read)


async def test_others_are_served_and_the_client_hears_when_it_is_written(start: Start) -> None:
    async with start() as here:
        reader, writer = await until_it_panics(here)
        fifo = await here.fifo()
        assert await of_qmp(here)
        writer.write(rsp.encode(b"g"))  # waits for the stop, as all packets do
        assert await of_qmp(here)
        core = await taken(fifo)
        assert (await reply(reader)).startswith(_STOPPED)
        assert len((await reply(reader)).strip(b"$#")) > 31 * 16
        assert core[HEADER:].startswith(b"\x7fELF")
        assert _NOP * 2 + _LOOP in core
        await closed(writer)
        here.stopped.set_result(128 + signal.SIGTERM)
        assert await asyncio.wait_for(here.session, HANGS) == 100


async def test_an_interrupt_ends_the_writing(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async with start() as here:
        reader, writer = await until_it_panics(here)
        fifo = await here.fifo()
        writer.write(b"\x03")
        assert (await reply(reader)).startswith(_STOPPED)
        assert not fifo.parent.exists()
        writer.write(rsp.encode(b"D"))  # and the guest goes on
        assert await reply(reader) == b"$OK#"
        await closed(writer)
        here.stopped.set_result(128 + signal.SIGTERM)
        assert await asyncio.wait_for(here.session, HANGS) == 100
        said = [each.getMessage() for each in caplog.records]
        assert "--vmcore-on: interrupted: there is no core file" in said


async def test_a_signal_ends_the_program(start: Start) -> None:
    async with start() as here:
        _, writer = await until_it_panics(here)
        fifo = await here.fifo()
        here.stopped.set_result(128 + signal.SIGTERM)
        assert await asyncio.wait_for(here.session, HANGS) == 100
        assert not fifo.parent.exists()
        await closed(writer)


async def test_a_client_that_vanishes_costs_no_file(start: Start) -> None:
    async with start() as here:
        _, writer = await until_it_panics(here)
        fifo = await here.fifo()
        writer.transport.abort()
        await asyncio.sleep(0)
        assert (await taken(fifo))[HEADER:].startswith(b"\x7fELF")
        here.stopped.set_result(128 + signal.SIGTERM)
        assert await asyncio.wait_for(here.session, HANGS) == 100


async def test_a_guest_stays_as_it_is_at_the_end_of_the_time(start: Start) -> None:
    async with start(vmcore_on=("timeout",), timeout=0.2) as here:
        await here.said(b"gdbstub: listening")
        reader, writer = await asyncio.open_unix_connection(str(here.gdb))
        writer.write(b"+" + rsp.encode(b"?"))
        assert (await reply(reader)).startswith(b"+$T05")
        fifo = await here.fifo()
        assert not await of_qmp(here)
        for refused in (b"vCont;c", b"s", b"D"):
            writer.write(b"+" + rsp.encode(refused))
            assert (await reply(reader)).startswith(b"+$E")
        assert (await taken(fifo))[HEADER:].startswith(b"\x7fELF")
        assert await asyncio.wait_for(here.session, HANGS) == 124
        await closed(writer)


async def test_the_end_of_a_script_waits_for_the_file(start: Start, tmp_path: Path) -> None:
    go, ended = tmp_path / "go", tmp_path / "ended"
    os.mkfifo(go)
    os.mkfifo(ended)
    script = f"cat {shlex.quote(str(go))}; exec 3>{shlex.quote(str(ended))}"
    async with start(script=script, free_run=True) as here:
        fifo = await here.fifo()
        await asyncio.to_thread(go.write_bytes, b"")
        await asyncio.wait_for(asyncio.to_thread(ended.read_bytes), HANGS)  # to the shell's end
        assert await of_qmp(here)
        assert (await taken(fifo))[HEADER:].startswith(b"\x7fELF")
        assert await asyncio.wait_for(here.session, HANGS) == 100
