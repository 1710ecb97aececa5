"""The socket of ``--qmp`` over a machine: its clients beside GDB, drgn among them."""

import asyncio
import ctypes
import json
import mmap
import os
import resource
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from gdbstub.cli.serving import qmp
from gdbstub.cli.serving.qmp import MachineGuest, QmpServer
from gdbstub.cli.settings.qmp import check_qmp
from gdbstub.errors import InputError
from gdbstub.monitor import monitored_debugger
from gdbstub.protocol.endpoint import Stdio, Tcp, Unix
from gdbstub.target import Action, Resume
from tests.fakes.machine import fake_machine

SPIN: Final = bytes.fromhex("00000014")
INFO: Final = (
    b"OSRELEASE=6.1.0-test\nPAGESIZE=4096\nSYMBOL(init_uts_ns)=ffff800009813000\n"
    b"NUMBER(kimage_voffset)=0xffff7fffc0000000\nBUILD-ID=00\nKERNELOFFSET=0\n"
    b"SYMBOL(swapper_pg_dir)=ffff800009813000\nNUMBER(VA_BITS)=48\nNUMBER(PHYS_OFFSET)=0x40000000\n"
)


class Client:
    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(path))
        self.stream = self.socket.makefile("rwb")

    def __enter__(self) -> "Client":
        assert json.loads(self.stream.readline())["QMP"]
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        self.socket.close()

    def ask(self, name: str, **arguments: object) -> Any:  # noqa: ANN401 - as JSON has it
        self.stream.write(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        self.stream.flush()
        return json.loads(self.stream.readline())["return"]


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    """This process has no descriptor left inside."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Path]:
    """The socket of a guest that runs."""
    machine = fake_machine(SPIN)
    machine.write_memory(0x4010_0000, INFO + b"\0")
    debugger = monitored_debugger(machine)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def notify() -> None:
        loop.call_soon_threadsafe(stopped.set)

    debugger.notify = notify
    debugger.resume(Resume({1: Action.CONTINUE}))
    place = tmp_path / "qmp"
    async with QmpServer(Unix(str(place)), MachineGuest(debugger, lambda ipa: None)):
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        yield place
        assert debugger.running
    assert not place.exists()
    debugger.kill()
    await stopped.wait()
    machine.close()


async def test_a_guest_that_runs_is_read_by_several(path: Path) -> None:
    def several() -> None:
        with Client(path) as one, Client(path) as other:
            for client in (one, other):
                client.ask("qmp_capabilities")
            assert one.ask("query-status")["status"] == "running"
            line = {"command-line": "xp /4xb 0x40000000"}
            for client in (one, other):
                said = client.ask("human-monitor-command", **line)
                assert said == "0000000040000000: 0x00 0x00 0x00 0x14\n"

    await asyncio.to_thread(several)


DRGN: Final = """
import sys, drgn
program = drgn.Program()
program.set_qemu_qmp(sys.argv[1])
print(program["UTS_RELEASE"].string_().decode(), program.read(0x40000000, 8, physical=True).hex())
"""


async def test_drgn_attaches_and_reads(path: Path) -> None:
    # A process of its own: it keeps Python's lock while it waits for a reply.
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DRGN, str(path), stdout=subprocess.PIPE
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert said.decode() == f"6.1.0-test {SPIN.hex()}00000000\n"


class Mapped:
    """A guest whose RAM is mapped in this process."""

    def __init__(self) -> None:
        self.ram = (range(0x4000_0000, 0x4001_0000),)
        self.running = True
        self.reads = 0
        self._memory = mmap.mmap(-1, len(self.ram[0]))
        self._memory[:4] = SPIN
        self._start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))

    def read(self, ipa: int, length: int) -> bytes:
        self.reads += 1
        at = ipa - self.ram[0].start
        return self._memory[at : at + length]

    def hva(self, ipa: int) -> int | None:
        return self._start + ipa - self.ram[0].start

    def vmcoreinfo(self) -> bytes:
        return INFO


def _may_trace() -> bool:
    """True unless Yama forbids to read another process of the same user."""
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    return not scope.exists() or scope.read_text().strip() == "0" or os.geteuid() == 0


async def test_drgn_reads_the_memory_of_this_process_where_it_may(tmp_path: Path) -> None:
    guest = Mapped()
    async with QmpServer(Unix(str(tmp_path / "qmp")), guest):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", DRGN, str(tmp_path / "qmp"), stdout=subprocess.PIPE
        )
        said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert said.decode() == f"6.1.0-test {SPIN.hex()}00000000\n"
    assert (guest.reads == 0) == _may_trace()


async def test_a_client_that_takes_no_reply_is_read_no_further(path: Path) -> None:
    def flood() -> None:
        with Client(path) as client, Client(path) as other:
            client.ask("qmp_capabilities")
            arguments = {"command-line": "xp /65536xb 0x40000000"}
            asked = {"execute": "human-monitor-command", "arguments": arguments}
            line = json.dumps(asked).encode() + b"\n"
            client.socket.settimeout(0.5)
            with pytest.raises(TimeoutError):
                client.socket.sendall(line * 100_000)
            other.ask("qmp_capabilities")
            assert other.ask("query-target") == {"arch": "aarch64"}

    await asyncio.to_thread(flood)


async def test_more_clients_than_are_served(path: Path) -> None:
    def crowd() -> None:
        clients = [Client(path) for _ in range(4)]
        for client in clients:
            client.__enter__()
            client.ask("qmp_capabilities")
        with socket.socket(socket.AF_UNIX) as fifth:
            fifth.settimeout(20)
            fifth.connect(str(path))
            assert fifth.recv(1) == b""
        for client in clients:
            client.__exit__()

    await asyncio.to_thread(crowd)


async def test_clients_that_say_nothing_keep_no_other_out(path: Path) -> None:
    def crowd() -> None:
        with Client(path) as served:
            served.ask("qmp_capabilities")
            silent = [Client(path).__enter__() for _ in range(9)]
            silent[-1].socket.sendall(b'{"execute"')
            with Client(path) as other:
                other.ask("qmp_capabilities")
                assert other.ask("query-target") == {"arch": "aarch64"}
            assert [client.stream.readline() for client in silent[:7]] == [b""] * 7
            assert served.ask("query-target") == {"arch": "aarch64"}
            for client in silent:
                client.__exit__()

    await asyncio.to_thread(crowd)


async def test_a_client_that_cannot_be_taken_waits(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qmp, "_PAUSE_SECONDS", 0.0)
    client = Client(path)
    with no_more_descriptors():
        for _ in range(20):
            await asyncio.sleep(0)
    said = caplog.messages
    assert 0 < len(said) < 20, "the socket was asked again and again, or never"
    assert {*said} == {"--qmp: cannot take a client yet: Too many open files"}

    def greeted() -> None:
        with client:
            assert client.ask("qmp_capabilities") == {}

    await asyncio.to_thread(greeted)


async def test_descriptors_that_nobody_named_are_closed(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))

    def send() -> None:
        with tempfile.TemporaryFile() as file, Client(path) as client:
            for _ in range(30):
                socket.send_fds(client.socket, [b" "], [file.fileno()] * 3)
            client.ask("qmp_capabilities")
            assert len(os.listdir("/proc/self/fd")) < before + 20

    await asyncio.to_thread(send)


def test_the_socket_is_of_this_user(tmp_path: Path) -> None:
    assert check_qmp(f"unix:{tmp_path}/q", Stdio(), inner=False) == Unix(f"{tmp_path}/q")
    for text, why in (
        ("localhost:1", "expected unix:PATH, a socket that only this user reaches"),
        ("stdio", "expected unix:PATH"),
        ("q", "--qmp q: expected unix:PATH"),
        (f"unix:{tmp_path}/none/q", "cannot be listened on: No such file or directory"),
    ):
        with pytest.raises(InputError, match=why):
            check_qmp(text, Stdio(), inner=False)
    assert check_qmp("10.0.2.15:0", Stdio(), inner=True) == Tcp("10.0.2.15", 0, guarded=True)
