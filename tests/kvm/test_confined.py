"""Reach of a stub in the lab, and of its host there: nothing but what they need."""

import io
import os
import re
import signal
import socket
import subprocess
import tarfile
from typing import Final

import pytest

from gdbstub.lab.host import Lab
from tests.contract.backends import NATIVE_KVM
from tests.contract.programs import COUNT
from tests.kvm.client import Client
from tests.kvm.conftest import Built
from tests.kvm.stub import Stub
from tests.pure.elves import RAM, Elf, Load

pytestmark = pytest.mark.usefixtures("lab")

#: The newest stub in the lab: a child of the prepared process.
PID = "$(ps -o ppid,pid | grep \"^ *$(cat /run/lab/prepared.pid) \" | tail -n 1 | sed 's/.* //')"

REACH = """
import socket, sys
for address, port in (("10.0.2.2", int(sys.argv[1])), ("10.0.2.3", 53), ("192.0.2.1", 80)):
    try:
        socket.create_connection((address, port), 3).close()
    except OSError:
        continue
    print("reached", address)
"""


#: A debugger: it waits until its parent, the stub, is confined; then it debugs and writes a core
#: file. It tells what it sees of the two processes, and starts one that would outlive it.
SCRIPT: Final = r"""
import os, re, socket, subprocess, sys, time
def status(pid):
    with open(f"/proc/{pid}/status") as file:
        return dict(re.findall(r"^(NoNewPrivs|Seccomp):\s*(\d)", file.read(), re.M))
stub = int(os.environ["STUB"])
while status(stub)["Seccomp"] != "2":
    time.sleep(0.01)
print("stub", *sorted(status(stub).items()))
print("script", *sorted(status("self").items()))
peer = socket.socket(socket.AF_UNIX)
peer.connect(os.environ["GDB_REMOTE"])
stream = peer.makefile("rwb")
def ask(text):
    data = text.encode()
    stream.write(b"$%b#%02x" % (data, sum(data) % 256))
    stream.flush()
    while True:
        while stream.read(1) != b"$":
            pass
        reply = b""
        while not reply.endswith(b"#"):
            reply += stream.read(1)
        stream.read(2)
        stream.write(b"+")
        stream.flush()
        if reply[:1] != b"O" or reply == b"OK#":
            return reply.decode()
print(ask("?")[:3], ask("vCont;s:1")[:3], ask("Z0,40000000,4"), ask("vCont;c")[:3])
print(ask("qRcmd," + b"vmcore made.core".hex()), ask("qRcmd," + b"info".hex()))
subprocess.Popen(["sleep", "98765"])
sys.exit(7)
"""


def children(parent: int, command: str) -> list[int]:
    """The children of a process with *command* in their command lines."""
    argv = ["pgrep", "-P", str(parent), "-f", command]
    return [int(pid) for pid in subprocess.run(argv, capture_output=True).stdout.split()]


def kill_children(parent: int, command: str) -> None:
    found = children(parent, command)
    assert found
    for pid in found:
        os.kill(pid, signal.SIGKILL)


def fields(status: bytes) -> dict[str, str]:
    return dict(re.findall(r"^(\w+):[\t ]*(.*)$", status.decode(), re.MULTILINE))


def test_a_stub_in_the_lab_has_no_privileges(lab: Lab, bare: Built) -> None:
    with Stub(bare.path) as stub, Client(stub) as client:
        assert client.ask("?").startswith("T05")
        status = fields(lab.run(["sh", "-c", f"cat /proc/{PID}/status"]).stdout)
        assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"65534"}
        assert status["Groups"].split() == []
        assert {status[name] for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {"0" * 16}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        # It works on: steps, runs, registers, a monitor command that is imported now, a reset.
        assert client.ask("vCont;s:1").startswith("T05")
        assert client.ask("qRcmd," + b"info".hex()) != ""


def test_the_lab_reaches_no_network(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours:
        port = ours.getsockname()[1]
        done = lab.run(["python3", "-c", REACH, str(port)], timeout=60)
    assert done.stdout == b""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_the_end_of_the_stub_is_said_in_one_line(
    lab: Lab, bare: Built, how: signal.Signals
) -> None:
    if NATIVE_KVM:
        pytest.fail("this test is for the lab")
    with Stub(bare.path) as stub:
        lab.run(["sh", "-c", f"kill -{int(how)} {PID}"])
        assert stub.wait() == 128 + how
        said = [line for line in stub.messages.rest().splitlines() if "the stub in the lab" in line]
    assert said == [f"gdbstub: the stub in the lab was killed by {how.name}"]


def test_the_end_of_the_connection_is_said_in_one_line(bare: Built) -> None:
    with Stub(bare.path) as stub:
        kill_children(stub.process.pid, "ssh")
        assert stub.wait() == 1
        said = stub.messages.rest().splitlines()
    assert [line for line in said if line.startswith("gdbstub: ")][1:] == [
        "gdbstub: the connection to the lab was cut: its ssh was killed by SIGKILL"
    ]


def test_the_end_of_the_emulator_is_said_in_one_line(
    bare: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GDBSTUB_LAB", raising=False)  # a lab of its own
    with Stub(bare.path) as stub:
        (guard,) = children(stub.process.pid, "gdbstub/lab/guard.py")
        kill_children(guard, "qemu-system-aarch64")
        assert stub.wait() == 1
        said = stub.messages.rest().splitlines()
    assert [line for line in said if line.startswith("gdbstub: the lab")] == [
        "gdbstub: the lab's emulator, qemu-system-aarch64, has ended: was it killed?"
    ]
    assert "Connection" not in "".join(said)


def run_in_host(lab: Lab, *options: str) -> "subprocess.CompletedProcess[bytes]":
    """``gdbstub run`` as a user of the host starts it, and not as the lab does; then what is left.

    The directory has a guest, and SCRIPT as script.py.
    """
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        elf = Elf(loads=[Load(data=COUNT.image)], entry=RAM).build()
        for name, data in (("guest.elf", elf), ("script.py", SCRIPT.encode())):
            entry = tarfile.TarInfo(f"script/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    lab.run(["sh", "-c", "rm -rf /tmp/script; tar -x -C /tmp"], data=archive.getvalue())
    argv = ["gdbstub", "run", "guest.elf", "--host", "kvm", "--memory", "2M", *options]
    done = lab.run(argv, cwd="/tmp/script", check=False, timeout=120)
    assert b"Traceback" not in done.stderr
    assert b"not confined" not in done.stderr
    assert b"no filter" not in done.stderr
    assert b"98765" not in lab.run(["ps", "ax", "-o", "args"]).stdout, "a process is left"
    return done


def test_a_stub_is_confined_and_its_script_is_not(lab: Lab) -> None:
    done = run_in_host(lab, "--script", "STUB=$PPID; export STUB; python3 script.py; exit $?")
    assert done.stdout.decode().splitlines() == [
        "stub ('NoNewPrivs', '1') ('Seccomp', '2')",
        "script ('NoNewPrivs', '0') ('Seccomp', '0')",
        "T05 T05 OK# T05",
        "OK# OK#",
    ], done.stderr.decode()
    assert done.returncode == 7
    size = lab.run(["stat", "-c", "%s", "/tmp/script/made.core"]).stdout
    assert int(size) > 2 << 20


def test_a_confined_stub_ends_a_script_that_takes_too_long(lab: Lab) -> None:
    done = run_in_host(lab, "--timeout", "1", "--script", "sleep 98765; true")
    assert done.returncode == 124
