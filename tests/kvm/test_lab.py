"""The lab host as its users meet it: commands, files, ports, and nothing left behind."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gdbstub.errors import LabError
from gdbstub.lab.directories import PREFIX
from gdbstub.lab.host import VARIABLE, Lab
from gdbstub.lab.opening import open_lab
from gdbstub.lab.port_forwards import PortForward, TcpForward, UnixForward
from gdbstub.lab.remote_run import RemoteRun, RunRequest
from tests.bounds import HANGS

LAB = [sys.executable, "-m", "gdbstub", "lab"]
EVERY_BYTE = bytes(range(256)) * 1024

FAKE_STUB = """\
import argparse, signal, socket, sys
parser = argparse.ArgumentParser()
parser.add_argument("--gdb")
parser.add_argument("--record")
parser.add_argument("file")
args = parser.parse_args()
record = open(args.record, "w", buffering=1) if args.record else sys.stderr
listener = socket.create_server((args.gdb.split(":")[0], 0))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
print("console:", open(args.file).read(), flush=True)
print("a warning", file=sys.stderr)
print("gdbstub: listening on %s:%d" % listener.getsockname(), file=sys.stderr, flush=True)
while True:
    client, _ = listener.accept()
    while data := client.recv(100):
        print("<-", data, file=record)
        if data == b"off":
            sys.exit(0)
        client.sendall(data)
    client.close()
"""


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for what no event of ours announces: the end of somebody else's process."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_lab_has_kvm_and_the_project(lab: Lab) -> None:
    script = "test -c /dev/kvm && gdbstub --version && python3 -c 'import cffi, pytest'"
    assert lab.run(["sh", "-c", script]).returncode == 0


def test_exit_status_environment_and_directory(lab: Lab) -> None:
    script = 'echo "$1|$A|$(pwd)"; exit 7'
    done = lab.run(["sh", "-c", script, "sh", "a 'b"], env={"A": "c  d"}, cwd="/tmp", check=False)
    assert (done.returncode, done.stdout) == (7, b"a 'b|c  d|/tmp\n")


def test_a_signal_is_reported_as_a_shell_does(lab: Lab) -> None:
    assert lab.run(["sh", "-c", "kill -9 $$"], check=False).returncode == 128 + 9


def test_streams_are_binary_clean(lab: Lab) -> None:
    with lab.popen(
        ["sh", "-c", "cat; cat /etc/shells >&2"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        out, err = process.communicate(EVERY_BYTE)
    assert out == EVERY_BYTE
    assert err == b"/bin/sh\n"


def test_killing_the_client_kills_the_command(lab: Lab) -> None:
    script = "(setsid sleep 4711 &) ; echo $$; exec sleep 4711"
    with lab.popen(
        ["sh", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline()
        process.kill()
    search = ["sh", "-c", "ps -o args | grep -q '[s]leep 4711'"]
    wait_for(lambda: lab.run(search, check=False).returncode == 1)


def test_a_command_does_not_outlive_its_timeout(lab: Lab) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        lab.run(["sleep", "4712"], timeout=0.5)
    assert lab.run(["sh", "-c", "ps -o args | grep -q '[s]leep 4712'"], check=False).returncode == 1


def test_put(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "a file, named ødd"
    file.write_bytes(EVERY_BYTE)
    file.chmod(0o750)
    place = lab.put(file)
    assert lab.run(["cat", place]).stdout == EVERY_BYTE
    assert lab.run(["stat", "-c", "%a", place]).stdout == b"750\n"
    assert lab.put(file) == place
    file.write_bytes(b"other")
    assert lab.run(["cat", lab.put(file)]).stdout == b"other"
    assert lab.put(file, "/root/new") == f"/root/new/{file.name}"


def test_a_large_file_is_shown_on_its_way(
    lab: Lab, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "initrd"
    with file.open("wb") as made:
        made.truncate(40 << 20)
    place = lab.put(file)
    assert capfd.readouterr().err.startswith("gdbstub: copying initrd into the lab (40 MiB)\n")
    assert lab.put(file) == place
    assert capfd.readouterr().err == ""
    assert lab.run(["stat", "-c", "%s", place]).stdout == b"%d\n" % (40 << 20)
    lab.run(["rm", place])


def test_put_of_a_missing_file_is_one_clear_line(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"no such file: .*/absent"):
        lab.put(tmp_path / "absent")


def test_forward(lab: Lab) -> None:
    echo = ["socat", "-d", "-d", "TCP-LISTEN:4713,reuseaddr", "EXEC:cat"]
    with lab.popen(echo, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as server:
        assert server.stderr
        assert b"listening" in server.stderr.readline()
        port = lab.forward(4713)
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"hello")
            assert client.recv(5) == b"hello"
        lab.unforward(port)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


def test_forward_of_a_port_in_use(lab: Lab) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(LabError, match=r"cannot listen on 127\.0\.0\.1"),
    ):
        lab.forward(1, local_port=taken.getsockname()[1])


def test_lab_run_joins_the_running_lab(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "input").write_text("from a file\n")
    argv = [*LAB, "run", "--put", "input", "--", "sh", "-c", "cat input -; exit 9"]
    done = subprocess.run(argv, input=b"typed", capture_output=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (9, b"from a file\ntyped", b"")


def test_lab_run_with_a_missing_file() -> None:
    done = subprocess.run(
        [*LAB, "run", "--put", "absent", "true"], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (
        2,
        b"gdbstub: --put absent: No such file or directory\n",
    )


@pytest.fixture
def short_tmp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory for temporary files, with a path that leaves room for a socket's."""
    with tempfile.TemporaryDirectory(prefix="lab") as name:
        monkeypatch.setenv("TMPDIR", name)
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        monkeypatch.delenv(VARIABLE, raising=False)
        yield Path(name)


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        (signal.SIGINT, ["--vhe"]),
        (signal.SIGTERM, []),
        (signal.SIGKILL, ["--vhe"]),
        (signal.SIGKILL, []),
    ],
)
def test_nothing_is_left_however_the_owner_ends(
    how: signal.Signals, kind: list[str], short_tmp: Path
) -> None:
    """The lab was booted, or restored from a snapshot."""
    argv = [*LAB, "run", *kind, "--", "sh", "-c", "echo up; exec sleep 4714"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as owner:
        assert owner.stdout
        assert owner.stdout.readline() == b"up\n"
        assert list(short_tmp.glob(f"{PREFIX}*"))
        owner.send_signal(how)
    wait_for(lambda: not list(short_tmp.iterdir()))
    wait_for(lambda: str(short_tmp) not in all_command_lines())


def all_command_lines() -> str:
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    path = tmp_path / "stub.py"
    path.write_text(FAKE_STUB)
    return path


def start(stub: Path, lab: Lab, forward: PortForward, tmp_path: Path) -> tuple[RemoteRun, str, int]:
    guest = tmp_path / "guest"
    guest.write_text("the guest")
    heard = threading.Event()
    told: list[tuple[str, int]] = []

    def on_listening(address: str, port: int) -> None:
        told.append((address, port))
        heard.set()

    with (tmp_path / "console").open("wb") as console:
        request = RunRequest(
            [guest],
            forward,
            record=tmp_path / "record",
            stdin=subprocess.DEVNULL,
            stdout=console,
            command=["python3", lab.put(stub)],
        )
        run = RemoteRun(request, on_listening)
    assert heard.wait(HANGS)
    return run, *told[0]


def test_a_remote_run_over_tcp(
    lab: Lab, stub: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    run, address, port = start(stub, lab, TcpForward("localhost", 0), tmp_path)
    with run:
        assert address == f"localhost:{port}"
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"hello")
            assert client.recv(5) == b"hello"
            client.sendall(b"off")
            assert run.wait(HANGS) == 0
    assert (tmp_path / "console").read_bytes() == b"console: the guest\n"
    assert (tmp_path / "record").read_bytes() == b"<- b'hello'\n<- b'off'\n"
    assert capfdbinary.readouterr().err == b"a warning\n"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_remote_run_over_a_unix_socket(lab: Lab, stub: Path, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    run, address, _ = start(stub, lab, UnixForward(path), tmp_path)
    with run:
        assert address == f"unix:{path}"
        assert path.stat().st_mode & 0o077 == 0
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"hello")
            assert client.recv(5) == b"hello"
        run.stop()
        assert run.wait(HANGS) == 5
    assert not path.exists()


def test_a_remote_run_over_stdio(lab: Lab, stub: Path, tmp_path: Path) -> None:
    (tmp_path / "guest").write_text("the guest")
    program = f"""
from pathlib import Path
from gdbstub.lab.remote_run import RemoteRun, RunRequest
from gdbstub.lab.port_forwards import StdioForward
request = RunRequest([Path("guest")], StdioForward(), command=["python3", {lab.put(stub)!r}])
with RemoteRun(request, lambda *_: None) as run:
    raise SystemExit(run.wait({HANGS}))
"""
    argv = [sys.executable, "-c", program]
    done = subprocess.run(argv, input=b"hello", capture_output=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (5, b"hello"), done.stderr
    assert b"console: the guest" in done.stderr


def test_a_way_in_that_cannot_be_had_is_known_before_a_boot(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for forward, why in (
            (TcpForward("localhost", port), f"cannot listen on localhost:{port}: .* in use"),
            (UnixForward(tmp_path / "file"), "is no socket"),
            (UnixForward(tmp_path / "no" / "socket"), "directory is absent"),
        ):
            with pytest.raises(LabError, match=why):
                RemoteRun(RunRequest([], forward), lambda *_: None)


def test_a_lab_that_is_gone_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, os.fspath(tmp_path))
    with pytest.raises(LabError, match="no lab is running"):
        open_lab()
