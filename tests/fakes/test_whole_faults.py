"""Whole sessions over the fake machine in which one part fails: a call, a file, a client."""

import asyncio
import io
import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from gdbstub import rsp
from gdbstub.cli.serving.serve import recording, serve
from gdbstub.cli.settings.serve import ServeSettings
from gdbstub.errors import MachineError
from gdbstub.linux.kaslr import NO_PROGRAM
from gdbstub.machine import DebugRegisters, Machine
from gdbstub.protocol.endpoint import Unix
from gdbstub.protocol.record import Recorder
from tests.bounds import HANGS
from tests.fakes.machine import FakeMachine, fake_machine
from tests.fakes.ram import BASE
from tests.fakes.vcpu import FakeVcpu

#: x0 counts for ever.
_COUNT: Final = bytes.fromhex("00040091 1f2003d5 feffff17".replace(" ", ""))
_CALLS: Final = ("read_memory", "write_memory", "arm", "resume")
#: Numbers of the calls that fail, one in each session; ``--long`` takes all up to the last.
_PLACES: Final = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89)
_LAST: Final = 120
_PACKETS: Final = (
    b"qSupported:swbreak+;hwbreak+", b"Z0,%x,4" % (BASE + 4), b"Z1,%x,4" % BASE,
    b"Z2,%x,8" % (BASE + 0x100), b"vCont;c", b"g", b"m%x,40" % BASE, b"vCont;s:1", b"P0=00",
    b"z1,%x,4" % BASE, b"vCont;c", b"M%x,4:01020304" % (BASE + 0x40), b"?",
)  # fmt: skip


class Calls:
    """Calls of a machine and its vCPUs, of which number *place* fails."""

    def __init__(self, machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made = self.place = 0
        for owner, names in ((machine, _CALLS), (FakeVcpu, ("get", "set"))):
            for name in names:
                monkeypatch.setattr(owner, name, self._failing(name, getattr(owner, name)))

    def fail(self, place: int) -> None:
        """Have call number *place* from now on fail."""
        self.made, self.place = 0, place

    def _failing(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:  # noqa: ANN401
            self.made += 1
            if self.made == self.place:
                raise MachineError(f"{name}: Input/output error")
            return real(*arguments, **more)

        return call


async def talk(path: Path) -> list[bytes]:
    """Say all packets, each when the one before has its reply; detach until that is done."""
    reader, writer = await asyncio.open_unix_connection(str(path))

    async def ask(packet: bytes) -> bytes:
        writer.write(rsp.encode(packet) + b"\x03" * packet.startswith(b"vCont"))
        frame = await asyncio.wait_for(reader.readuntil(b"#"), HANGS)
        await asyncio.wait_for(reader.readexactly(2), HANGS)
        return frame.lstrip(b"+").strip(b"$#")

    assert await ask(b"QStartNoAckMode") == b"OK"
    writer.write(b"+")
    replies = [await ask(packet) for packet in _PACKETS]
    while (reply := await ask(b"D")) != b"OK":
        assert reply.startswith(b"E"), reply
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return replies


async def session(
    machine: Machine,
    place: Path,
    recorder: Recorder | None = None,
    begin: Callable[[], None] = lambda: None,
) -> int:
    """Serve one client, for which *begin* is called; return the exit status after a SIGTERM."""
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    settings = ServeSettings(Unix(str(place)))
    ready = asyncio.Event()
    served = asyncio.ensure_future(
        serve(
            machine, NO_PROGRAM, settings, stopped, recorder=recorder,
            started=lambda _: ready.set(),
        )
    )  # fmt: skip
    await asyncio.wait({served, asyncio.ensure_future(ready.wait())}, return_when="FIRST_COMPLETED")
    begin()
    await talk(place)
    stopped.set_result(128 + signal.SIGTERM)
    return await asyncio.wait_for(served, HANGS)


async def test_a_call_that_fails_leaves_nothing_behind(
    tmp_path: Path, long: bool, caplog: pytest.LogCaptureFixture
) -> None:
    await session(machine := fake_machine(_COUNT), tmp_path / "gdb")
    machine.close()
    before = threading.active_count(), os.listdir("/proc/self/fd")
    for place in range(1, _LAST) if long else _PLACES:
        machine = fake_machine(_COUNT)
        with pytest.MonkeyPatch.context() as patch:
            calls = Calls(machine, patch)
            status = await session(machine, tmp_path / "gdb", begin=partial(calls.fail, place))
        machine.close()
        assert calls.made >= place
        assert status == 128 + signal.SIGTERM
        assert machine.read_memory(BASE, len(_COUNT)) == _COUNT, place
        assert machine.armed == DebugRegisters(), place
        assert (threading.active_count(), os.listdir("/proc/self/fd")) == before, place
    assert not [each for each in caplog.records if each.exc_info], "a traceback"
    assert os.listdir(tmp_path) == []


async def test_a_record_that_cannot_be_written_is_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    machine = fake_machine(_COUNT)
    with recording("/dev/full") as recorder:
        assert await session(machine, tmp_path / "gdb", recorder) == 128 + signal.SIGTERM
    machine.close()
    said = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert said == ["packets are no longer recorded: [Errno 28] No space left on device"]


_SCRIPTS: Final = {
    "kill -KILL $$": 128 + signal.SIGKILL,
    "kill -TERM $$": 128 + signal.SIGTERM,
    "exec /absent": 127,
    f"{shlex.quote(sys.executable)} -c 'import os; os.abort()'": 128 + signal.SIGABRT,
}


@pytest.mark.parametrize(("script", "status"), _SCRIPTS.items())
async def test_a_script_that_dies_has_its_status(script: str, status: int, tmp_path: Path) -> None:
    machine = fake_machine(_COUNT)
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    settings = ServeSettings(Unix(str(tmp_path / "gdb")), script=script)
    served = serve(machine, NO_PROGRAM, settings, stopped, recorder=Recorder(io.StringIO()))
    assert await asyncio.wait_for(served, HANGS) == status
    machine.close()
    assert os.listdir(tmp_path) == []


async def test_another_socket_in_the_place_of_ours_stays(tmp_path: Path) -> None:
    machine = fake_machine(_COUNT)
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    settings = ServeSettings(Unix(str(tmp_path / "gdb")))

    def replace(_: int) -> None:
        (tmp_path / "gdb").unlink()
        (tmp_path / "gdb").write_text("somebody else's")
        stopped.set_result(143)

    served = serve(machine, NO_PROGRAM, settings, stopped, started=replace)
    assert await asyncio.wait_for(served, HANGS) == 143
    machine.close()
    assert (tmp_path / "gdb").read_text() == "somebody else's"


async def test_a_core_file_that_has_no_room_is_one_line_and_no_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, os.strerror(28))

    machine = fake_machine(_COUNT)
    monkeypatch.setattr("gdbstub.linux.core_file._write_all", full)
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    settings = ServeSettings(
        Unix(str(tmp_path / "gdb")), timeout=0.05, vmcore_on=("timeout",),
        vmcore=str(tmp_path / "core"),
    )  # fmt: skip
    assert await asyncio.wait_for(serve(machine, NO_PROGRAM, settings, stopped), HANGS) == 124
    machine.close()
    (said,) = (each.getMessage() for each in caplog.records if each.levelname == "ERROR")
    assert re.fullmatch(r"--vmcore-on: \S+/core: No space left on device", said)
    assert os.listdir(tmp_path) == []
