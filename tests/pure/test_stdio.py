"""The server over this process's own streams, in a process of its own."""

import socket
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest

from tests.bounds import HANGS

ROOT = Path(__file__).parents[2]

STDIO = """
import asyncio
import uvloop
from gdbstub.protocol.endpoint import Stdio
from gdbstub.protocol.server import Server
from tests.pure.fake_target import FakeTarget

async def main():
    target = FakeTarget()
    server = Server(target, Stdio())
    await server.start()
    await server.wait_ended()
    await server.close()
    import os, sys
    print(server.endpoint, target.calls, os.get_blocking(0), os.get_blocking(1), file=sys.stderr)

with asyncio.Runner(loop_factory={loop}.new_event_loop) as runner:
    runner.run(main())
"""
LOOPS = [STDIO.replace("{loop}", loop) for loop in ("asyncio", "uvloop")]
either_loop = pytest.mark.parametrize("stdio", LOOPS, ids=["asyncio", "uvloop"])


@either_loop
@pytest.mark.parametrize(
    ("said", "got", "calls"),
    [
        (b"$qC#b4", b"+$QC1#c5", "['release']"),
        (b"$qC#b4$k#6b", b"+$QC1#c5+", "['detach']"),
        (b"$vKill;1#6e", b"+$OK#9a", "['kill']"),
        (b"$D#44", b"+$OK#9a", "['detach']"),
        (b"", b"", "['release']"),
    ],
)
def test_standard_input_and_output(said: bytes, got: bytes, calls: str, stdio: str) -> None:
    argv = (sys.executable, "-c", stdio)
    child = subprocess.run(argv, cwd=ROOT, input=said, capture_output=True, timeout=HANGS)
    assert child.stdout == got
    assert child.stderr.decode() == f"stdio {calls} True True\n"


@either_loop
def test_standard_input_and_output_are_one_socket(stdio: str) -> None:
    ours, its = socket.socketpair()
    with ours:
        with its:
            child = subprocess.Popen(
                (sys.executable, "-c", stdio),
                cwd=ROOT,
                stdin=its.fileno(),
                stdout=its.fileno(),
                stderr=PIPE,
            )
        ours.settimeout(20)
        ours.sendall(b"$qC#b4")
        assert ours.recv(1) + ours.recv(100) == b"+$QC1#c5"
        ours.sendall(b"+$D#44")
        ours.shutdown(socket.SHUT_WR)
        said = b""
        while data := ours.recv(100):
            said += data
    assert said == b"+$OK#9a"
    _, err = child.communicate(timeout=HANGS)
    assert err == b"stdio ['detach'] True True\n"


@either_loop
def test_standard_input_from_a_file(stdio: str) -> None:
    with open(__file__, "rb") as file:
        child = subprocess.run(
            (sys.executable, "-c", stdio), cwd=ROOT, stdin=file, capture_output=True, timeout=HANGS
        )
    assert b"stdio needs pipes or sockets" in child.stderr
