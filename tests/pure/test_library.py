"""What ``import gdbstub`` gives: a small surface, imported when used, and nothing of KVM's."""

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import gdbstub
from gdbstub import library
from tests.pure.fake_target import FakeTarget
from tests.pure.test_layers import ROOMS

#: The rooms that a library of protocols may bring along.
PROTOCOL = {
    *("agent", "aarch64", "bits", "conditions", "endpoint", "errors", "library", "packets"),
    *("record", "rsp", "server", "session", "sliced", "target"),
}


def imported(program: str) -> set[str]:
    """The modules that *program* has imported at its end, in a Python of its own."""
    script = f"{program}\nimport sys; print(*sys.modules)"
    done = subprocess.run(
        (sys.executable, "-c", script), check=True, capture_output=True, text=True, timeout=60
    )
    return set(done.stdout.split())


def rooms(modules: set[str]) -> set[str]:
    return {name.split(".")[1] for name in modules if name.startswith("gdbstub.")}


def test_every_public_name_comes_without_the_kvm_half() -> None:
    modules = imported("from gdbstub import *; assert serve and Target")
    assert PROTOCOL <= set(ROOMS)
    assert rooms(modules) <= PROTOCOL
    others = {name.split(".")[0] for name in modules} - {"gdbstub", "__main__"}
    foreign = {name for name in others if name not in sys.stdlib_module_names}
    # What a .pth file of this Python imports is not our doing.
    assert foreign <= {name.split(".")[0] for name in imported("")}


def test_nothing_is_imported_before_it_is_used() -> None:
    assert rooms(imported("import gdbstub; gdbstub.__version__")) == set()
    assert "asyncio" not in imported("from gdbstub import Target, Stopped, MemoryFault, Register")


def test_names_are_objects_of_one_identity_and_others_do_not_exist() -> None:
    for name in gdbstub.__all__:
        assert getattr(gdbstub, name) is getattr(gdbstub, name)
    assert gdbstub.serve is library.serve
    with pytest.raises(AttributeError, match="no attribute 'debugger_of_mine'"):
        _ = gdbstub.debugger_of_mine


def test_every_public_name_says_what_it_is() -> None:
    for name in gdbstub.__all__:
        assert getattr(gdbstub, name).__doc__, name


def test_the_package_says_that_it_is_typed() -> None:
    assert Path(gdbstub.__file__).with_name("py.typed").exists()


async def converse(remote: str, *packets: bytes) -> bytes:
    """Say *packets* without acks; what came, up to the end."""
    reader, writer = await asyncio.open_connection(*remote.split(":"))
    for packet in (b"QStartNoAckMode", *packets):
        writer.write(b"$%b#%02x" % (packet, sum(packet) & 0xFF))
    said = await reader.read()
    writer.close()
    await writer.wait_closed()
    return said


async def test_serve_ends_when_the_target_is_gone() -> None:
    target, bound = FakeTarget(), asyncio.Queue[gdbstub.Server]()
    task = asyncio.create_task(gdbstub.serve(target, "127.0.0.1:0", listening=bound.put_nowait))
    server = await bound.get()
    assert server.endpoint == server.remote
    said = await asyncio.wait_for(converse(server.remote, b"?", b"vKill;1"), 10)
    assert b"$T05thread:1;" in said
    assert said.endswith(b"$OK#9a")
    await asyncio.wait_for(task, 10)
    assert target.calls[-1] == "kill"


async def test_serve_cancelled_leaves_nothing_bound() -> None:
    target, bound = FakeTarget(), asyncio.Queue[gdbstub.Server]()
    task = asyncio.create_task(gdbstub.serve(target, "127.0.0.1:0", listening=bound.put_nowait))
    server = await bound.get()
    client = asyncio.create_task(converse(server.remote))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(server.remote.rpartition(":")[2])))
    await asyncio.wait([client])
    client.exception()


async def test_an_endpoint_that_is_none_is_named() -> None:
    with pytest.raises(gdbstub.InputError, match="endpoint '1234' lacks a port"):
        await gdbstub.serve(FakeTarget(), "1234")
