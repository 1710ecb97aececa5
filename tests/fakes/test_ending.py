"""The end of a session by a reason of ``--stop-on`` or ``--vmcore-on``, over the fake machine."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gdbstub.cli.serving.ending import Ending
from gdbstub.cli.settings.serve import ServeSettings
from gdbstub.debug.debugger import Debugger
from gdbstub.linux.core_file import new_file
from gdbstub.linux.stop_on import StopOn
from gdbstub.protocol.endpoint import Tcp
from gdbstub.target import Stopped
from tests.fakes.machine import fake_machine

SPIN = bytes.fromhex("00000014")


class Server:
    """A server with a client or without."""

    def __init__(self, client: str) -> None:
        self.client = client
        self.ended = False

    def end(self) -> None:
        self.ended = True


class Session:
    """A debugger that has stopped for the reasons that a test gives it."""

    def __init__(self, directory: Path, client: str = "", **settings: Any) -> None:  # noqa: ANN401
        machine = fake_machine(SPIN)
        self.core = directory / "core"
        self.debugger = Debugger(machine)
        kernel: Any = type("Kernel", (), {"functions": {}})
        points = StopOn(kernel, (), lambda: None, machine, self.debugger.memory)
        self.debugger.stop_points.append(points)
        self.met = points.met
        self.server = Server(client)
        given = ServeSettings(Tcp("127.0.0.1", 0), vmcore=str(self.core), **settings)
        self.ending = Ending(self.debugger, given, self.server, lambda name: new_file(Path(name)))

    async def stop(self, *reasons: str) -> None:
        self.met.extend(reasons)
        self.ending.begin(Stopped(1))
        await self.ending.written()
        self.ending.stopped(Stopped(1))


async def test_a_core_file_and_the_end_where_nobody_waits(tmp_path: Path) -> None:
    session = Session(tmp_path, vmcore_on=("panic", "timeout"))
    await session.stop()
    assert not session.core.exists()
    await session.stop("warn")
    assert not session.core.exists()
    await session.stop("panic")
    assert session.core.exists()
    assert session.server.ended


@pytest.mark.parametrize(
    ("client", "settings"),
    [("a client", {}), ("", {"script": "true"}), ("", {"stop_on": ("panic",)})],
)
async def test_one_who_waits_goes_on(tmp_path: Path, client: str, settings: dict[str, Any]) -> None:
    session = Session(tmp_path, client, vmcore_on=("panic",), **settings)
    await session.stop("panic")
    assert session.core.exists()
    assert not session.server.ended


async def test_the_file_is_written_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    session = Session(tmp_path, "a client", vmcore_on=("panic", "timeout"))
    await session.stop("panic")
    size = session.core.stat().st_size
    await session.stop("panic")
    await session.ending.late()
    assert session.core.stat().st_size == size
    assert not [each for each in caplog.records if each.levelname == "ERROR"]


async def test_the_worst_reason_is_the_status(tmp_path: Path) -> None:
    session = Session(tmp_path)
    assert session.ending.status(7) == 7
    for reason, status in (("warn", 102), ("reset", 102), ("panic", 100), ("oops", 100)):
        await session.stop(reason)
        assert session.ending.status(0) == session.ending.status(124) == status


async def test_a_guest_that_has_ended_leaves_no_file(tmp_path: Path) -> None:
    session = Session(tmp_path, vmcore_on=("timeout",))
    session.debugger.kill()
    await asyncio.wait_for(session.ending.late(), 20)
    assert not session.core.exists()
