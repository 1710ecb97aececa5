"""The names of ``import gdbstub``: few, imported when used, and without KVM."""

import asyncio
import inspect
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import gdbstub
from gdbstub import capabilities
from gdbstub.protocol import serve as library
from tests.bounds import HANGS
from tests.pure.fake_target import FakeTarget

#: The modules that a library of protocols may bring along.
PROTOCOL = {
    "agent",
    "architecture",
    "capabilities",
    "errors",
    "protocol",
    "rsp",
    "slices",
    "states",
    "target",
}


def imported(program: str) -> set[str]:
    """The modules that *program* has imported at its end, in a Python of its own."""
    script = f"{program}\nimport sys; print(*sys.modules)"
    done = subprocess.run(
        (sys.executable, "-c", script), check=True, capture_output=True, text=True, timeout=HANGS
    )
    return set(done.stdout.split())


def rooms(modules: set[str]) -> set[str]:
    return {name.split(".")[1] for name in modules if name.startswith("gdbstub.")}


def test_every_public_name_comes_without_the_kvm_half() -> None:
    modules = imported("from gdbstub import *; assert serve and Target")
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


CAPABILITIES = [
    each
    for each in vars(capabilities).values()
    if isinstance(each, type) and each.__module__ == capabilities.__name__
]


PAGE = (Path(__file__).parents[2] / "docs" / "library.md").read_text()


@pytest.mark.parametrize("capability", CAPABILITIES, ids=lambda each: each.__name__)
def test_every_capability_is_public_and_on_the_page(capability: type) -> None:
    name = capability.__name__
    assert getattr(gdbstub, name) is capability
    if not issubclass(capability, gdbstub.Capability):
        assert f"`{name}`" in PAGE  # a value of one
    elif capability is not gdbstub.Capability:
        (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))
        for method in vars(capability):
            assert method.startswith("_") or f"`{method}`" in row, method


def test_every_argument_of_an_architecture_is_on_the_page() -> None:
    arguments = list(inspect.signature(gdbstub.Architecture).parameters)
    shown = [line.split("`")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    assert [each for each in shown if each in arguments] == arguments


OUTSIDE = """
import asyncio
from collections.abc import Sequence

import gdbstub
from gdbstub import Architecture, BreakpointKind, Clauses, Command, Conditions, CooperativeTarget
from gdbstub import Monitor, Register, Report, Restartable, Target


class Mine(CooperativeTarget, Monitor, Restartable):
    architecture = Architecture("riscv:rv64")
    registers = (Register("pc", 64, type="code_ptr", number=32),)

    def read_registers(self, thread: int, registers: Sequence[Register]) -> bytes:
        return bytes(sum(row.size for row in registers))

    def write_register(self, thread: int, register: Register, data: bytes) -> None:
        raise gdbstub.RegisterRefused(register.name)

    def read_memory(self, thread: int, address: int, length: int) -> bytes:
        return bytes(length)

    def write_memory(self, thread: int, address: int, data: bytes) -> None:
        raise gdbstub.MemoryFault(f"{address:#x}")

    def execute(self, count: int) -> Report | None:
        return None

    def monitor(self, command: Command) -> str:
        return command.line

    def reset(self) -> None:
        self.begin()


mine = Mine()
target: Target = mine
monitor: gdbstub.Monitor = mine
restartable: gdbstub.Restartable = mine
conditions: gdbstub.BreakpointConditions = mine
reveal_type(gdbstub.serve)
reveal_type(Conditions(mine).stops(1, BreakpointKind.SOFTWARE, 0))
asyncio.run(gdbstub.serve(1, "localhost:0"))
"""


def test_a_program_outside_is_checked_against_our_types(tmp_path: Path) -> None:
    """Installed, not looked up in this directory; ``py.typed`` says that the types are meant."""
    assert Path(gdbstub.__file__).with_name("py.typed").exists()
    program = tmp_path / "program.py"
    program.write_text(OUTSIDE)
    checked = subprocess.run(
        (sys.executable, "-m", "mypy", "--strict", "--config-file=", program),
        cwd=tmp_path, capture_output=True, text=True, timeout=HANGS,
    )  # fmt: skip
    said = [line.partition(": ")[2] for line in checked.stdout.splitlines()]
    line = OUTSIDE.splitlines().index('asyncio.run(gdbstub.serve(1, "localhost:0"))') + 1
    assert [each for each in said if each.startswith("error:")] == [
        'error: Argument 1 to "serve" has incompatible type "int"; expected "Target"  [arg-type]'
    ], checked.stdout + checked.stderr
    assert f"program.py:{line}: error" in checked.stdout
    revealed = [each for each in said if "Revealed type" in each]
    assert "Coroutine[Any, Any, None]" in revealed[0]
    assert "bool" in revealed[1]


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
