"""The session of ``gdbstub run`` over machines that are not KVM's."""

import asyncio
import io
import shlex
import sys

import pytest

from gdbstub.cli.serve import Console, serve
from gdbstub.cli.serve_settings import ServeSettings
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


@pytest.fixture(params=[fake_machine, minimal_machine], ids=["fake", "minimal"])
def machine(request: pytest.FixtureRequest) -> Machine:
    machine: Machine = request.param(SPIN)
    return machine


async def test_a_script_is_served_and_its_status_is_the_sessions(machine: Machine) -> None:
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    record = io.StringIO()
    script = f"{sys.executable} -c {shlex.quote(CLIENT)}"
    settings = ServeSettings(Tcp("127.0.0.1", 0), script=script, timeout=20.0, hint=False)
    status = await serve(machine, NO_PROGRAM, settings, stopped, recorder=Recorder(record))
    machine.close()
    assert status == 3
    assert record.getvalue().splitlines()[:3] == ["<- $qC", "-> +", "-> $QC1"]


async def test_a_signal_ends_a_guest_that_runs(machine: Machine) -> None:
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[int] = loop.create_future()
    loop.call_soon(stopped.set_result, 143)
    settings = ServeSettings(Tcp("127.0.0.1", 0), free_run=True, hint=False)
    console = Console(len, lambda: None, keyboard=None)
    assert await serve(machine, NO_PROGRAM, settings, stopped, console=console) == 143
    machine.close()
