"""Ctrl-C and other signals while the program gets ready; keys on their way to a guest."""

import asyncio
import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from gdbstub.cli.serving.serve import pass_keys
from gdbstub.signals import STOP_SIGNALS
from gdbstub.vmm.console import keys_at_once, read_keys
from gdbstub.vmm.pl011 import BACKLOG, DR, PL011
from tests.cli.program import GDBSTUB, ROOT, Place
from tests.cli.terminal import Terminal

# Says that it runs, and never ends by itself.
STUCK = "#!/bin/sh\necho $$ >{fifo}\nexec /bin/sleep 4720\n"
TOOLS = ("apt-get", "apt-cache", "cpio", "dpkg-deb", "qemu-system-aarch64", "ssh", "ssh-keygen",
         "tar")  # fmt: skip


@pytest.fixture
def fifo(place: Place) -> Path:
    """Makes preparing an image hang; who reads this learns the process that hangs."""
    bin = place.files.parent / "bin"
    bin.mkdir()
    fifo = place.files / "fifo"
    os.mkfifo(fifo)
    for name in TOOLS:
        (bin / name).write_text(STUCK.format(fifo=fifo))
        (bin / name).chmod(0o755)
    return fifo


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def unfinished(place: Place) -> list[Path]:
    return list(Path(place.environment["XDG_CACHE_HOME"]).glob("kvm-gdbstub/.*"))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_python_ends_is_too_late(how: signal.Signals) -> None:
    code = (
        "import atexit, os, sys\n"
        "from gdbstub.cli.main import main\n"
        f"atexit.register(lambda: os.kill(os.getpid(), {how:d}))\n"
        "sys.argv = ['gdbstub', '--version']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("deferred", [False, True])
def test_signals_that_arrive_together_are_no_traceback(deferred: bool) -> None:
    """A session's end sends SIGHUP and SIGTERM at once."""
    together = "{signal.SIGHUP, signal.SIGTERM, signal.SIGINT}"
    code = (
        "import os, signal, sys\n"
        "from gdbstub.cli import main\n"
        "from gdbstub.signals import deferred_signals\n"
        "def call(arguments):\n"
        f"    signal.pthread_sigmask(signal.SIG_BLOCK, {together})\n"
        f"    [os.kill(os.getpid(), each) for each in {together}]\n"
        f"    signal.pthread_sigmask(signal.SIG_UNBLOCK, {together})\n"
        "    return 0\n"
        "def deferring(arguments):\n"
        "    with deferred_signals():\n"
        "        return call(arguments)\n"
        f"main.call = {'deferring' if deferred else 'call'}\n"
        "main.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode in {128 + each for each in STOP_SIGNALS}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_an_image_is_prepared(place: Place, fifo: Path, how: signal.Signals) -> None:
    with subprocess.Popen(
        [*GDBSTUB, "run", "--gdb", "localhost:0"],
        cwd=place.files,
        env=place.environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        tool = int(fifo.read_text())
        assert unfinished(place)
        process.send_signal(how)
        _, said = process.communicate()
    assert process.returncode == 128 + how
    assert said.splitlines() == ["gdbstub: preparing the kernel: reading the package lists"]
    assert gone(tool)
    assert not unfinished(place)


def test_ctrl_c_while_an_image_is_prepared(place: Place, fifo: Path) -> None:
    """At a terminal, where it goes to the tools as well."""
    arguments = ["run", "--gdb", "localhost:0"]
    with Terminal(*arguments, cwd=place.files, env=place.environment) as terminal:
        tool = int(fifo.read_text())
        terminal.wait_for("preparing the kernel")
        terminal.type("\x03")
        status, shown = terminal.end()
        assert status == 130
        assert terminal.settings_now() == terminal.settings
    for noise in ("Traceback", "Error", "Interrupt"):
        assert noise not in shown
    assert gone(tool)
    assert not unfinished(place)


def test_a_signal_that_is_ignored_stays_so(place: Place, fifo: Path) -> None:
    """The program goes on, as with nohup, and a later SIGTERM ends it."""
    with subprocess.Popen(
        ["/bin/sh", "-c", 'trap "" HUP; exec "$@"', "sh", *GDBSTUB, "run", "--gdb=localhost:0"],
        cwd=place.files,
        env=place.environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        fifo.read_text()
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM


# Keys.


class Reader:
    """A guest that reads all that its UART has, when told to."""

    def __init__(self) -> None:
        self.uart = PL011(lambda _: None, lambda _: None)
        self.offered = asyncio.Event()
        self.read = b""

    def receive(self, data: bytes) -> int:
        taken = self.uart.receive(data)
        if taken < len(data):
            self.offered.set()
        return taken

    def empty(self, count: int) -> None:
        self.read += bytes(self.uart.read(DR, 4) for _ in range(count))


async def test_a_paste_larger_than_the_uarts_room_loses_nothing() -> None:
    paste = os.urandom(3 * BACKLOG + 5)
    source, sink = os.pipe()
    guest = Reader()
    work = asyncio.ensure_future(pass_keys(source, guest.receive))
    writing = asyncio.ensure_future(asyncio.to_thread(write_all, sink, paste))
    while len(paste) - len(guest.read) > BACKLOG + 1:
        await guest.offered.wait()
        guest.offered.clear()
        guest.empty(BACKLOG)
    await writing
    await work
    guest.empty(len(paste) - len(guest.read))
    assert guest.read == paste
    os.close(source)


def write_all(sink: int, data: bytes) -> None:
    with open(sink, "wb") as file:
        file.write(data)


async def test_keys_end_where_their_source_does(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"from a file")
    got: list[bytes] = []

    def receive(data: bytes) -> int:
        got.append(data)
        return len(data)

    with (tmp_path / "keys").open("rb") as file:
        await pass_keys(file.fileno(), receive)
    assert got == [b"from a file"]


async def test_keys_may_be_given_up_at_any_time() -> None:
    source, sink = os.pipe()
    work = asyncio.ensure_future(pass_keys(source, lambda _: 0))
    os.write(sink, b"x")
    await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    os.close(source)
    os.close(sink)


# The terminal.


def test_a_terminal_is_given_back_whenever_a_signal_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even between its change and the change's being known."""
    keyboard, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    change = termios.tcsetattr

    def interrupted(fd: int, when: int, settings: list[Any]) -> None:
        change(fd, when, settings)
        if settings != before:
            raise KeyboardInterrupt

    monkeypatch.setattr(termios, "tcsetattr", interrupted)
    with pytest.raises(KeyboardInterrupt), keys_at_once(terminal):
        pass
    assert termios.tcgetattr(terminal) == before
    os.close(keyboard)
    os.close(terminal)


def test_keys_come_at_once_and_unechoed() -> None:
    keyboard, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    with keys_at_once(terminal):
        os.write(keyboard, b"k")
        assert read_keys(terminal) == b"k"
        os.set_blocking(keyboard, False)
        with pytest.raises(BlockingIOError):
            os.read(keyboard, 1)
    assert termios.tcgetattr(terminal) == before
    os.close(keyboard)
    os.close(terminal)


BACKGROUND = """
import os, pty, signal, termios
from gdbstub.vmm.console import is_keyboard, keys_at_once
child, keyboard = pty.fork()
if child == 0:  # leads the session and has the terminal
    before = termios.tcgetattr(0)
    if (job := os.fork()) == 0:
        os.setpgid(0, 0)
        with keys_at_once(0):
            os._exit(7 if not is_keyboard(0) and termios.tcgetattr(0) == before else 8)
    _, status = os.waitpid(job, os.WUNTRACED)
    os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 9)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_job_in_the_background_leaves_the_terminal_alone() -> None:
    """The kernel would stop it for touching the settings."""
    done = subprocess.run([sys.executable, "-c", BACKGROUND], cwd=ROOT, check=False)
    assert done.returncode == 7


STOPPED = """
import os, pty, signal, termios
from gdbstub.vmm.console import keys_at_once
child, keyboard = pty.fork()
if child == 0:  # a shell, so to speak
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    before = termios.tcgetattr(0)
    if (job := os.fork()) == 0:
        os.setpgid(0, 0)
        os.tcsetpgrp(0, os.getpid())
        with keys_at_once(0):
            at_once = termios.tcgetattr(0)
            os.kill(os.getpid(), signal.SIGSTOP)
            os._exit(7 if termios.tcgetattr(0) == at_once != before else 8)
    os.waitpid(job, os.WUNTRACED)
    os.tcsetpgrp(0, os.getpid())
    termios.tcsetattr(0, termios.TCSADRAIN, before)
    os.tcsetpgrp(0, job)
    os.kill(job, signal.SIGCONT)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(job, 0)[1]))
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_job_that_was_stopped_gets_keys_at_once_again() -> None:
    """Ctrl-Z and ``fg``: the shell has its own settings in between."""
    done = subprocess.run([sys.executable, "-c", STOPPED], cwd=ROOT, check=False)
    assert done.returncode == 7


def test_what_a_continued_program_does_is_given_back() -> None:
    keyboard, terminal = pty.openpty()
    before = signal.getsignal(signal.SIGCONT)
    with keys_at_once(terminal):
        assert signal.getsignal(signal.SIGCONT) is not before
    assert signal.getsignal(signal.SIGCONT) is before
    os.close(keyboard)
    os.close(terminal)
