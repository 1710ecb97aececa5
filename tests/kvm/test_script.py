"""``gdbstub run`` from its start to its end: scripts, limits, signals, and nothing left behind."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from gdbstub.lab.host import VARIABLE, Lab
from tests.bounds import HANGS
from tests.cli.terminal import Terminal
from tests.contract.backends import NATIVE_KVM
from tests.kvm.caches import snapshots, without_snapshots
from tests.kvm.runs import Runs, assemble, in_the_lab

pytestmark = pytest.mark.lengthy


@pytest.fixture(scope="session")
def guests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return assemble(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def off(guests: dict[str, Path]) -> Path:
    """Prints a line and powers off."""
    return guests["off"]


@pytest.fixture
def loop(guests: dict[str, Path]) -> Path:
    """Runs for ever."""
    return guests["loop"]


@pytest.fixture
def runs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runs]:
    """After every test here: no process, no port, no file that was not asked for."""
    made = Runs(tmp_path)
    before = None if NATIVE_KVM else in_the_lab(request.getfixturevalue("lab"))
    yield made
    assert made.left() == []
    if before:
        assert in_the_lab(request.getfixturevalue("lab")) == before


ENDPOINTS = ["localhost:0", "unix:gdb socket"]


@pytest.mark.parametrize(("endpoint", "status"), [(ENDPOINTS[0], 0), (ENDPOINTS[1], 7)])
def test_a_scripts_status_is_ours(runs: Runs, loop: Path, endpoint: str, status: int) -> None:
    script = (
        'echo "$GDB_REMOTE"; echo "$GDB_SYMBOLS"; read line || echo end; '
        'exec gdb-multiarch -nx -batch "$GDB_SYMBOLS" -ex "set remotetimeout 30" '
        '-ex "target remote $GDB_REMOTE" '
        f"-ex 'info symbol $pc' -ex 'quit {status}'"
    )
    done, out, err = runs.run(loop, "--gdb", endpoint, "--script", script)
    assert done == status, err
    remote, symbols, end, *said = out.splitlines()
    listening = re.search(r"gdbstub: listening on (\S.*)\n", err)
    assert listening
    assert remote == listening[1].removeprefix("unix:")
    assert re.fullmatch(r"localhost:\d+|gdb socket", remote)
    assert (symbols, end) == (str(loop), "end")
    assert "_start in section .text" in said
    assert "target remote" not in err  # nobody is there to paste it
    assert not (runs.directory / "gdb socket").exists()


def test_symbols_of_ones_own_and_a_script_killed_by_a_signal(runs: Runs, loop: Path) -> None:
    script = 'sleep 4716 & echo "$GDB_SYMBOLS"; kill -SEGV $$'
    arguments = ["--gdb=localhost:0", "--script", script, "--symbols", "/bin/sh"]
    done, out, err = runs.run(loop, *arguments)
    assert (done, out) == (128 + 11, "/bin/sh\n"), err


@pytest.mark.parametrize(
    ("endpoint", "how"),
    [
        ("localhost:0", signal.SIGTERM),
        ("unix:gdb socket", signal.SIGINT),
        ("localhost:0", signal.SIGHUP),
    ],
)
def test_a_signal_during_a_script(
    runs: Runs, loop: Path, endpoint: str, how: signal.Signals
) -> None:
    script = "sleep 4717 & echo $GDB_REMOTE; wait"
    with runs.start(loop, "--gdb", endpoint, "--script", script) as process:
        assert process.stdout is not None
        remote = process.stdout.readline().strip()
        process.send_signal(how)
        out, err = process.communicate(timeout=HANGS)
    assert (process.returncode, out) == (128 + how, "")
    assert "Traceback" not in err
    if remote == "gdb socket":
        assert not (runs.directory / remote).exists()
    else:  # the port is free again
        address = ("127.0.0.1", int(remote.rpartition(":")[2]))
        socket.create_server(address, reuse_port=False).close()


# Says one packet, waits for the reply, and then for ever.
ASKS: Final = """\
import os, socket, time
remote = os.environ["GDB_REMOTE"]
if ":" in remote:
    client = socket.create_connection(remote.rsplit(":", 1))
else:
    client = socket.socket(socket.AF_UNIX)
    client.connect(remote)
client.sendall(b"$qC#b4")
reply = b""
while reply.count(b"#") == 0:
    reply += client.recv(100)
print("replied", flush=True)
while client.recv(100):
    pass
time.sleep(4718)
"""


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_time_limit(runs: Runs, loop: Path, endpoint: str) -> None:
    (runs.directory / "asks.py").write_text(ASKS)
    # A grandchild would outlive the shell, and holds the pipe whose end we wait for.
    stubborn = "sh -c 'trap \"\" TERM INT; sleep 4715'"
    script = f"sleep 4715 & {stubborn} & {sys.executable} asks.py"
    arguments = ["--gdb", endpoint, "--script", script, "--timeout", "5", "--record", "record"]
    done, out, err = runs.run(loop, *arguments)
    assert (done, out) == (124, "replied\n"), err
    lines = (runs.directory / "record").read_text().splitlines()
    assert [line[:6] for line in lines if "$" in line] == ["<- $qC", "-> $QC"]
    assert not (runs.directory / "gdb socket").exists()


def test_gdbs_own_pipe(runs: Runs, off: Path) -> None:
    # In a file: GDB does not read what its pipe's program says after W00.
    files = "--record record --console console"
    program = f"{sys.executable} -m gdbstub run --gdb stdio {files} {off}"
    argv = ["gdb-multiarch", "-nx", "-batch", "-ex", f"target remote | {program}"]
    done = subprocess.run(
        [*argv, "-ex", "print/x $pc", "-ex", "continue"],
        cwd=runs.directory,
        env=runs.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "$1 = 0x40080000" in done.stdout
    assert "exited normally" in done.stdout
    assert (runs.directory / "console").read_text() == "hello from the guest\n"
    assert "-> $W00" in (runs.directory / "record").read_text()
    until = time.monotonic() + HANGS
    while runs.left():  # GDB waits for its pipe's program for 5 s, and the shell for no child of it
        assert time.monotonic() < until


def test_a_pipe_whose_client_leaves_is_a_session_well_ended(runs: Runs, loop: Path) -> None:
    done, out, err = runs.run(loop, "--gdb", "stdio")  # standard input is at its end
    assert (done, out.strip("\n")) == (0, ""), err


def test_a_guest_that_powers_off(runs: Runs, off: Path) -> None:
    done, out, err = runs.run(off, "--gdb=localhost:0", "--free-run")
    assert (done, out) == (0, "hello from the guest\n"), err
    assert "whoever can reach it" not in err


def test_the_console_in_a_file_and_a_guest_by_a_pipe(runs: Runs, off: Path) -> None:
    (runs.directory / "console").write_text("of an earlier, longer session" * 9)
    os.mkfifo(runs.directory / "guest")
    arguments = ["--gdb=localhost:0", "--free-run", "--console=console"]
    with subprocess.Popen(["sh", "-c", f"cat '{off}' >guest"], cwd=runs.directory):
        done, out, err = runs.run("guest", *arguments)
    assert (done, out) == (0, ""), err
    assert (runs.directory / "console").read_text() == "hello from the guest\n"


def test_a_client_that_comes_from_elsewhere(runs: Runs, loop: Path) -> None:
    done, _, err = runs.run(loop, "--gdb", "0.0.0.0:0", "--script", "true")
    assert done == 0
    assert err.count("whoever can reach it controls the guest") == 1
    assert "0.0.0.0:" in err
    assert "10.0.2.15" not in err


def test_kvm_of_the_lab_refuses_alike(lab: Lab, off: Path) -> None:
    """The same line on a host that has arm64 KVM."""
    guest = lab.put(off)
    with lab.popen(
        ["socat", "-d", "-d", "TCP-LISTEN:4719,bind=127.0.0.1", "EXEC:cat"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as taken:
        assert taken.stderr is not None
        assert b"listening" in taken.stderr.readline()
        argv = ["gdbstub", "run", "--host=kvm", "--gdb=localhost:4719", guest]
        done = lab.run(argv, check=False)
        taken.kill()
    line = b"gdbstub: localhost:4719 is in use: another program listens there; "
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(line)
    assert done.stderr.count(b"\n") == 1


# At a terminal.


@pytest.fixture
def hint() -> str:
    """The line that the program shows last, when it waits for a client."""
    return r"for you alone: --gdb unix:\S+\s+"


def test_ctrl_c_while_a_guest_waits(runs: Runs, loop: Path, hint: str) -> None:
    with Terminal("run", loop, "--gdb=localhost:0", cwd=runs.directory, env=runs.environment) as at:
        at.wait_for(hint)
        at.type("\x03")
        status, shown = at.end()
        assert (status, shown.replace("^C", "").strip()) == (130, "")
        assert at.settings_now() == at.settings


def test_ctrl_c_during_a_script(runs: Runs, loop: Path) -> None:
    arguments = ["run", str(loop), "--gdb=localhost:0", "--script", "echo ready; sleep 4721"]
    with Terminal(*arguments, cwd=runs.directory, env=runs.environment) as at:
        at.wait_for("ready")
        at.type("\x03")
        status, shown = at.end()
        assert (status, shown.replace("^C", "").strip()) == (130, "")
        assert at.settings_now() == at.settings


def test_the_terminal_goes_away(runs: Runs, loop: Path, hint: str) -> None:
    with Terminal("run", loop, "--gdb=localhost:0", cwd=runs.directory, env=runs.environment) as at:
        at.wait_for(hint)
        at.hang_up()
        assert at.process.wait(HANGS) == 128 + signal.SIGHUP


def test_the_end_of_a_guest_gives_the_terminal_back(runs: Runs, off: Path) -> None:
    arguments = ["run", str(off), "--gdb=localhost:0", "--free-run"]
    with Terminal(*arguments, cwd=runs.directory, env=runs.environment) as at:
        assert at.end()[0] == 0
        assert "listening on localhost:" in at.shown
        assert at.settings_now() == at.settings


@pytest.mark.parametrize("how", ["\x03", signal.SIGTERM])
def test_ctrl_c_while_a_lab_boots(
    runs: Runs, loop: Path, tmp_path: Path, how: str | signal.Signals
) -> None:
    """The lab boots for its snapshot, which is not there yet."""
    cache = tmp_path / "cache"
    with tempfile.TemporaryDirectory(prefix="lab") as short:
        environment = {**runs.environment, "TMPDIR": short, **without_snapshots(cache)}
        environment.pop(VARIABLE, None)
        environment.pop("XDG_RUNTIME_DIR", None)
        arguments = ["run", str(loop), "--host=lab", "--gdb=localhost:0"]
        with Terminal(*arguments, cwd=runs.directory, env=environment) as at:
            at.wait_for("booting")
            if isinstance(how, str):
                at.type(how)
            else:
                at.process.send_signal(how)
            status, shown = at.end()
            assert status == (130 if how == "\x03" else 143)
            assert "Traceback" not in shown
            assert at.settings_now() == at.settings
        assert os.listdir(short) == []
    assert snapshots(cache) == []
