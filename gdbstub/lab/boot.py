"""Start of a lab host, and its certain end, however its owner ends.

``host.py`` uses the lab once it is up.
"""

import fcntl
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gdbstub.errors import LabError
from gdbstub.lab import cache, cpio, guard, image, monitor, overlay, private, qemu, ssh, tools
from gdbstub.lab.progress import Steps, note

PREFIX: Final = "kvm-gdbstub-lab-"
READY: Final = b"lab: ready"
BOOT_SECONDS: Final = 180.0
"""Longest wait for a boot, twenty times its usual time."""

UNCLAIMED_SECONDS: Final = 600.0
"""Age from which a directory without a running guard is removed."""

SERVE: Final = """\
# Run by QEMU for each connection to its file port: send the file that the first line names.
read -r name
case $name in */* | .* | "") exit 1 ;; esac
exec cat "{outbox}/$name"
"""


@dataclass(slots=True)
class LabProcesses:
    """Processes and directory of one lab."""

    directory: Path
    guard: subprocess.Popen[bytes]
    connection: subprocess.Popen[bytes] | None = None

    def go(self) -> None:
        """Tell the guard to start QEMU."""
        if self.guard.stdin:
            self.guard.stdin.write(b"\n")
            self.guard.stdin.flush()

    def stop(self) -> None:
        """End QEMU and remove the directory; the guard does both when its input ends."""
        if self.guard.stdin:
            self.guard.stdin.close()
        self.guard.wait()
        if self.connection:
            self.connection.terminate()
            self.connection.communicate()


def start(options: qemu.Options, include: Sequence[Path] = ()) -> LabProcesses:
    """Boot a lab; return when commands can run in it.

    Raises:
        LabError: a program is missing, the image cannot be built, or the boot fails.
    """
    tools.require(qemu.PROGRAM, "ssh", "ssh-keygen", "cpio")
    prepared = image.prepare(options.suite)
    sweep()
    directory, lock = claim()
    console, far = socket.socketpair()
    with console, cache.explained(directory):
        initrd = directory / "initrd.cpio"
        argv = qemu.command_line(options, prepared.kernel, initrd, directory, far.fileno())
        processes = LabProcesses(directory, launch(directory, lock, far.fileno(), argv))
        far.close()
        os.close(lock)
        try:
            with Steps("starting the lab", 3) as steps:
                steps.step("packing the project")
                pack(initrd, directory, prepared, include)
                steps.step("booting (about 6 s)")
                processes.go()
                wait_until_ready(console, directory)
                initrd.unlink()
                steps.step("connecting")
                table = monitor.command(directory / "qmp", "info usernet")
                ports = {row.port: row.local_port for row in monitor.forwards(table)}
                ssh.configure(directory, ports[qemu.SSH_PORT])
                processes.connection = ssh.hold(directory, "-M", shared=True)
        except BaseException:
            processes.stop()
            raise
    return processes


def claim() -> tuple[Path, int]:
    """Make a private directory and lock it against ``sweep``.

    Raises:
        LabError: there is no place for one.
    """
    parents = runtime_directories()
    parent = next((path for path in parents if private.is_safe_parent(path)), None)
    if parent is None:
        raise LabError(
            f"other users could replace what is made in {' or '.join(map(str, parents))}: "
            "set XDG_RUNTIME_DIR to a directory of yours alone"
        )
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    lock = private.open_lock(directory / "lock")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return directory, lock


def runtime_directories() -> list[Path]:
    """List possible parents of a lab's directory; short paths, as a socket's has 107 bytes."""
    names = [os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"]
    return [Path(name) for name in names if name.startswith("/") and len(os.fsencode(name)) <= 50]


def sweep() -> None:
    """Remove the directories of labs whose guard and owner were both killed."""
    for parent in runtime_directories():
        for directory in parent.glob(f"{PREFIX}*"):
            with suppress(OSError):
                private.remove_unclaimed(directory, "lock", UNCLAIMED_SECONDS)


def pack(initrd: Path, directory: Path, prepared: image.Image, include: Sequence[Path]) -> None:
    """Write the lab's files into *directory*, and the initramfs of this boot to *initrd*."""
    outbox = directory / "outbox"
    outbox.mkdir()
    (directory / "serve").write_text(SERVE.format(outbox=outbox))
    extra = directory / "overlay.cpio"
    overlay.write(extra, directory, ssh.make_key(directory), include)
    cpio.join([prepared.initrd, extra], initrd)
    extra.unlink()


def launch(directory: Path, lock: int, console: int, argv: list[str]) -> subprocess.Popen[bytes]:
    """Start the guard process, which starts QEMU when told to and cleans up at the end.

    It has a session of its own: Ctrl-C reaches only the owner, which then ends the guard.
    """
    guarded = [str(directory), str(lock), str(console), *argv]
    return subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__, *guarded],
        stdin=subprocess.PIPE,
        pass_fds=(lock, console),
        start_new_session=True,
    )


def wait_until_ready(console: socket.socket, directory: Path) -> None:
    """Read the console until the lab reports that it is ready.

    Raises:
        LabError: the boot ended or took too long; with the console's last line.
    """
    deadline = time.monotonic() + BOOT_SECONDS
    seen = b""
    while READY not in seen:
        console.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            data = console.recv(65536)
        except TimeoutError:
            raise failure(f"is not ready after {BOOT_SECONDS:.0f} s", directory, seen) from None
        if not data:
            raise failure("stopped while booting", directory, seen)
        seen += data


def failure(what: str, directory: Path, console: bytes) -> LabError:
    """Print the last lines of QEMU and of the console; return an error with the last one."""
    log = directory / "qemu.log"
    said = (log.read_bytes() if log.exists() else b"") + console
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    for line in lines[-15:]:
        note(f"lab console: {line}")
    return LabError(f"the lab {what}: {lines[-1] if lines else 'its console is empty'}")
