"""Real GDB against the protocol rooms alone: no machine, no debug core."""

import asyncio
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from gdbstub.protocol.endpoint import Tcp, Unix
from gdbstub.protocol.server import Server
from tests.bounds import HANGS
from tests.gdb.conftest import without_process
from tests.pure.fake_target import HERE, FakeTarget

ROOT = Path(__file__).parents[2]
GDB = ("gdb-multiarch", "-nx", "-nh", "-batch", "-ex", "set confirm off")


async def gdb(server: Server, *commands: str) -> asyncio.subprocess.Process:
    script = ("set architecture aarch64", f"target remote {server.remote}", *commands)
    return await asyncio.create_subprocess_exec(
        *GDB,
        *(word for command in script for word in ("-ex", command)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def output(process: asyncio.subprocess.Process) -> str:
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return without_process(out.decode())


async def test_gdb_feels_at_home() -> None:
    target = FakeTarget()
    server = Server(target, Tcp("localhost", 0))
    await server.start()
    process = await gdb(
        server,
        "info registers pc cpsr",
        "x/4xw $pc",
        "set var $x1 = 0x1122334455667788",
        "print/x $x1",
        "set var *(int *) 0x40000100 = 0x12345678",
        "x/xw 0x40000100",
        "break *0x40000010",
        "continue",
        "stepi",
        "print/x $pc",
        "thread 2",
        "print/x $pc",
        "print $v0.s.u",
        "show osabi",
        "kill",
    )
    said = await output(process)
    await asyncio.wait_for(server.wait_ended(), 10)
    await server.close()
    for expected in (
        "pc             0x40000000          0x40000000",
        "cpsr           0x0                 [ EL=0 BTYPE=0 ]",
        "0x40000000:\t0xd503201f\t0xd503201f\t0xd503201f\t0xd503201f",
        "$1 = 0x1122334455667788",
        "0x40000100:\t0x12345678",
        'Thread 1 "CPU#0" hit Breakpoint 1, 0x0000000040000010',
        "$2 = 0x40000014",
        "Switching to thread 2",
        "$3 = 0x40000000",
        "$4 = {0, 0, 0, 0}",
        'currently "GNU/Linux"',
    ):
        assert expected in said, said
    assert target.calls[-1] == "kill"


STDIO = """
import asyncio
from gdbstub.protocol.endpoint import Stdio
from gdbstub.protocol.server import Server
from tests.pure.fake_target import FakeTarget

async def main():
    server = Server(FakeTarget(), Stdio())
    await server.start()
    await server.wait_ended()
    await server.close()

asyncio.run(main())
"""


def test_gdb_starts_the_stub_itself(tmp_path: Path) -> None:
    (tmp_path / "stub.py").write_text(STDIO)
    # A GDB may have set up the environment for a Python of its own.
    stub = shlex.join(
        ("env", "-u", "PYTHONHOME", f"PYTHONPATH={ROOT}", sys.executable, f"{tmp_path}/stub.py")
    )
    commands = (f"target remote | {stub}", "stepi", "print/x $pc", "detach")
    said = subprocess.run(
        (*GDB, *(word for command in commands for word in ("-ex", command))),
        capture_output=True,
        text=True,
        timeout=HANGS,
    )
    assert "$1 = 0x40000004" in said.stdout, said
    assert "Inferior 1 (Remote target) detached" in without_process(said.stdout)


async def test_gdb_interrupts_and_leaves(tmp_path: Path) -> None:
    target = FakeTarget()
    target.memory[:4] = HERE.to_bytes(4, "little")
    server = Server(target, Unix(str(tmp_path / "gdb")))
    await server.start()
    process = await gdb(server, "continue", "print/x $pc", "detach")
    async with asyncio.timeout(60):
        while not target.running:  # noqa: ASYNC110  (the fake has no events)
            await asyncio.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = await output(process)
    await server.close()
    assert "received signal SIGINT" in said
    assert "$1 = 0x40000000" in said
    assert target.calls[-2:] == ["interrupt", "detach"]
