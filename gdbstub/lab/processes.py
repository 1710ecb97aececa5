"""Processes of one lab: the guard with QEMU, and the shared ssh connection; their certain end."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Self

from gdbstub.lab import directories, guard, monitor, qemu, ssh

SERVE: Final = """\
# Run by QEMU for each connection to its file port: send the file that the first line names.
read -r name
case $name in */* | .* | "") exit 1 ;; esac
exec cat "{outbox}/$name"
"""


class ProcessFiles(NamedTuple):
    """Names of the files in a lab's directory."""

    directory: Path

    @property
    def monitor(self) -> Path:
        """Socket of QEMU's monitor (QMP)."""
        return self.directory / "qmp"

    @property
    def outbox(self) -> Path:
        """Directory of the files that the lab may fetch."""
        return self.directory / "outbox"

    @property
    def source(self) -> Path:
        """File with the digest of the project's source in the lab."""
        return self.directory / "source"


@dataclass(slots=True)
class LabProcesses:
    """Processes and directory of one lab."""

    directory: Path
    guard: subprocess.Popen[bytes]
    #: This end of the serial console, until ``boot`` or ``restore`` closes it.
    console: socket.socket
    connection: subprocess.Popen[bytes] | None = None

    @classmethod
    def prepare(cls, command_line: Callable[[qemu.Wiring], list[str]]) -> Self:
        """Claim a directory and start the guard, which waits for ``go`` to start QEMU."""
        directories.remove_stale()
        directory, lock = directories.claim()
        with ExitStack() as stack:
            stack.callback(os.close, lock)
            console, far = socket.socketpair()
            stack.enter_context(far)
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            files = ProcessFiles(directory)
            # Listened on from the start: a client waits for QEMU's greeting, and for no file.
            listener.bind(str(files.monitor))
            listener.listen()
            files.outbox.mkdir()
            (directory / "serve").write_text(SERVE.format(outbox=files.outbox))
            wiring = qemu.Wiring(directory, far.fileno(), listener.fileno())
            argv = command_line(wiring)
            process = launch(directory, lock, [far.fileno(), listener.fileno()], argv)
            return cls(directory, process, console)

    def go(self) -> None:
        """Tell the guard to start QEMU."""
        self._tell(guard.START)

    def keep(self) -> None:
        """Tell the guard that the lab outlives its owner, until QEMU is told to quit."""
        self._tell(guard.KEEP)

    def _tell(self, word: bytes) -> None:
        if self.guard.stdin:
            self.guard.stdin.write(word)
            self.guard.stdin.flush()

    def reach(self, forwards: list[monitor.Forward]) -> None:
        """Write the ssh configuration for the port in *forwards*."""
        ports = {row.port: row.local_port for row in forwards}
        ssh.configure(self.directory, ports[qemu.SSH_PORT])

    def connect(self) -> None:
        """Open the shared connection, if it is not open.

        Raises:
            LabError: the lab does not answer.
        """
        if self.connection is None:
            self.connection = ssh.hold(self.directory, "-M", shared=True)

    def stop(self) -> None:
        """End QEMU and remove the directory; the guard does both when its input ends."""
        self.console.close()
        if self.guard.stdin:
            self.guard.stdin.close()
        self.guard.wait()
        if self.connection:
            self.connection.terminate()
            self.connection.communicate()


def launch(
    directory: Path, lock: int, inherited: list[int], argv: list[str]
) -> subprocess.Popen[bytes]:
    """Start the guard process, which starts QEMU when told to and cleans up at the end.

    It has a session of its own: Ctrl-C reaches only the owner, which then ends the guard.
    """
    guarded = [str(directory), str(lock), ",".join(map(str, inherited)), *argv]
    return subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__, *guarded],
        stdin=subprocess.PIPE,
        # Not the owner's, which may be pipes whose readers wait for an end.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(lock, *inherited),
        start_new_session=True,
    )
