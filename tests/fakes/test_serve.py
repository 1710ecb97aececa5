"""The session of ``gdbstub run`` over machines that are not KVM's."""

import asyncio
import io
import os
import shlex
import sys
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from gdbstub.cli.serving.serve import SerialConsole, serve
from gdbstub.cli.settings.serve import ServeSettings
from gdbstub.linux.kaslr import NO_PROGRAM
from gdbstub.machine import Machine
from gdbstub.protocol.endpoint import Tcp
from gdbstub.protocol.record import Recorder
from tests.fakes.machine import fake_machine
from tests.fakes.minimal import minimal_machine

SPIN = bytes.fromhex("00000014")
CLIENT = """
import os, socket
host, port = os.environ["GDB_REMOTE"].rsplit(":", 1)
with socket.create_connection((host, int(port))) as client:
    client.sendall(b"$qC#b4")
    client.recv(1)
raise SystemExit(3)
"""
WAITS = """
import os, socket
host, port = os.environ["GDB_REMOTE"].rsplit(":", 1)
with socket.create_connection((host, int(port))) as client:
    client.sendall(b"$vCont;c#a8")
    while client.recv(100):
        pass
"""


@pytest.fixture(params=[fake_machine, minimal_machine], ids=["fake", "minimal"])
def machine(request: pytest.FixtureRequest) -> Machine:
    machine: Machine = request.param(SPIN)
    return machine


async def test_a_script_is_served_and_its_status_is_the_sessions(machine: Machine) -> None:
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    record = io.StringIO()
    script = f"{sys.executable} -c {shlex.quote(CLIENT)}"
    settings = ServeSettings(Tcp("127.0.0.1", 0), script=script, timeout=20.0)
    status = await serve(machine, NO_PROGRAM, settings, stopped, recorder=Recorder(record))
    machine.close()
    assert status == 3
    assert record.getvalue().splitlines()[:3] == ["<- $qC", "-> +", "-> $QC1"]


async def test_the_end_of_the_time_ends_a_session_that_nobody_came_to(
    machine: Machine,
) -> None:
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    settings = ServeSettings(Tcp("127.0.0.1", 0), free_run=True, timeout=0.05)
    assert await serve(machine, NO_PROGRAM, settings, stopped) == 124
    machine.close()


@pytest.mark.parametrize("free_run", [True, False])
async def test_a_core_file_at_the_end_of_the_time(
    free_run: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    core, machine = tmp_path / "core", fake_machine(SPIN)
    script = f"{sys.executable} -c {shlex.quote(WAITS)} && cp {core} {tmp_path / 'killed first'}"
    settings = ServeSettings(
        Tcp("127.0.0.1", 0), free_run=free_run, timeout=0.5, script=script,
        vmcore_on=("timeout",), vmcore=str(core),
    )  # fmt: skip
    assert await serve(machine, NO_PROGRAM, settings, stopped) == 124
    machine.close()
    with core.open("rb") as file:
        elf = ELFFile(file)
        loads = [each["p_filesz"] for each in elf.iter_segments("PT_LOAD")]
    layout = machine.capabilities.layout
    assert layout
    assert loads == [len(each) for each in layout.ram_ranges]
    assert f"gdbstub: the core file is in {core}\n" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["core"]


async def test_a_core_file_that_cannot_be_written_is_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    (tmp_path / "core").write_text("of somebody else")
    machine = fake_machine(SPIN)
    settings = ServeSettings(
        Tcp("127.0.0.1", 0), timeout=0.05,
        vmcore_on=("timeout",), vmcore=str(tmp_path / "core"),
    )  # fmt: skip
    assert await serve(machine, NO_PROGRAM, settings, stopped) == 124
    machine.close()
    assert [each.getMessage() for each in caplog.records if each.levelname == "ERROR"] == [
        f"--vmcore-on: {tmp_path / 'core'}: File exists"
    ]
    assert (tmp_path / "core").read_text() == "of somebody else"


async def test_a_signal_ends_a_guest_that_runs(machine: Machine) -> None:
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[int] = loop.create_future()
    loop.call_soon(stopped.set_result, 143)
    settings = ServeSettings(Tcp("127.0.0.1", 0), free_run=True)
    console = SerialConsole(len, lambda: None, keyboard=None)
    assert await serve(machine, NO_PROGRAM, settings, stopped, console=console) == 143
    machine.close()
