"""A running lab host: boot or join one, run commands, copy files in, forward ports.

Nothing here is about guests and debuggers; ``remote_run.py`` adds that.
"""

import secrets
import shlex
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, Self

from gdbstub.errors import LabError
from gdbstub.lab import boot, directories, monitor, private, ssh, tools
from gdbstub.lab.processes import LabProcesses, ProcessFiles
from gdbstub.lab.qemu import Options
from gdbstub.lab.transfer import PROGRESS, offer
from gdbstub.slices import spend
from gdbstub.streams import note, read_within

VARIABLE: Final = "GDBSTUB_LAB"
"""Environment variable with the directory of a running lab, which is then used."""
OWN: Final = "new"
"""Value of that variable for a lab of one's own, also if one is up."""

#: Longest time in which the lab ends a command of which nobody wants the result any more.
_KILL_SECONDS: Final = 5.0

Stream = int | IO[bytes] | None


class Lab:
    """A lab host that is up; use as a context manager, or ``close`` it."""

    def __init__(self, directory: Path) -> None:
        """Use the lab in *directory*, which ``close`` leaves running."""
        self.directory = directory
        self._owned: LabProcesses | None = None
        self._connecting = threading.Lock()

    @classmethod
    def of(cls, processes: LabProcesses) -> Self:
        """Use the lab of *processes*, which ``close`` ends."""
        lab = cls(processes.directory)
        lab._owned = processes
        return lab

    @classmethod
    def boot(cls, options: Options | None = None) -> Self:
        """Boot a lab (about 6 s), without a snapshot.

        Raises:
            LabError: the image cannot be built, or the boot fails.
        """
        return cls.of(boot.start(options or Options()))

    @classmethod
    def attach(cls, directory: Path) -> Self:
        """Use a lab that another process booted; ``close`` leaves it running.

        Raises:
            LabError: no lab is running in *directory*, or it is not this user's alone.
        """
        if not (directory / "ssh_config").exists():
            raise LabError(f"no lab is running in {directory}: unset {VARIABLE} to start one")
        # Whoever can write there chooses the commands that ssh runs here.
        if not directories.is_private(directory.resolve()):
            raise LabError(
                f"{directory} must be a directory of this user alone (mode 700): unset {VARIABLE} "
                "to start a lab"
            )
        return cls(directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the lab and remove its files, if this object booted it. Idempotent."""
        if self._owned:
            self._owned.stop()
            self._owned = None

    @property
    def running(self) -> bool:
        """True while its QEMU runs."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(str(self.directory / "qmp"))
            except BlockingIOError:
                return True  # it takes no connection, as one that is stopped
            except OSError:
                return False
        return True

    def popen(
        self,
        argv: Sequence[str],
        *,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        new_session: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start a command (0.4 s); return the local process with its streams and exit status.

        The command has its own connection. When the local process ends, even killed, the lab
        kills the command and everything that it started. With *new_session* the signals of the
        terminal do not reach the local process.
        """
        line = [*ssh.client(self.directory), ssh.script(argv, env, cwd)]
        return subprocess.Popen(
            line, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=new_session
        )

    def run(
        self,
        argv: Sequence[str],
        *,
        data: bytes = b"",
        check: bool = True,
        timeout: float | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a short command (0.1 s) over the shared connection; return its output.

        The command does not outlive the call. Raises as ``subprocess.run`` does.
        """
        name, line = self._short(argv, env, cwd)
        try:
            return subprocess.run(
                line, input=data, capture_output=True, check=check, timeout=timeout
            )
        except subprocess.CalledProcessError:
            raise
        except BaseException:
            self._kill(name)
            raise

    def read(self, argv: Sequence[str], most: int, timeout: float) -> bytes:
        """Run a short command as ``run`` does; return its output, at most *most* bytes of it.

        Neither its status nor its errors are looked at. For a lab that may be a guest's by now.
        Work in slices is cancelled in here, too.

        Raises:
            TimeoutError: it takes longer than *timeout* seconds.
        """
        name, line = self._short(argv, None, None)
        pipe, none = subprocess.PIPE, subprocess.DEVNULL
        with subprocess.Popen(line, stdin=none, stdout=pipe, stderr=none) as process:
            assert process.stdout is not None
            whole = False
            try:
                data = read_within(process.stdout.fileno(), most, timeout, lambda: spend(0))
                whole = len(data) < most
            finally:
                if not whole:
                    self._kill(name)
                process.kill()
        return data

    def shell(self) -> int:
        """Run a root shell of the lab on this terminal; return its exit status."""
        return subprocess.call(ssh.client(self.directory, "-tt"))

    def put(self, path: Path, directory: str | None = None) -> str:
        """Copy a file into the lab (26 MB/s); return its path there.

        Without *directory* the path is derived from the file's inode, time and size, and an
        unchanged file is not copied again.

        Raises:
            LabError: there is no such file, or it cannot be copied.
        """
        offered = offer(self.directory, path, directory)
        line = [*self._shared(), shlex.join(offered.command)]
        said = b""
        try:
            with tools.started(line, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
                for text in process.stderr or ():
                    if match := PROGRESS.fullmatch(text):
                        note(match[1].decode())
                    else:
                        said += text
        finally:
            offered.link.unlink()
        if process.returncode:
            raise LabError(f"cannot copy {path} into the lab: {tools.last_words(said)}")
        return offered.target

    def forward(self, port: int, address: str = "127.0.0.1", local_port: int = 0) -> int:
        """Forward a TCP port of this machine (0: any free one) to *port* in the lab; return it.

        QEMU listens and copies the bytes.

        Raises:
            LabError: QEMU cannot listen on *address* and *local_port*.
        """
        with private.locked(self.directory / "forwards"):
            # A free port is found by comparing two listings.
            return monitor.add(ProcessFiles(self.directory).monitor, address, local_port, port)

    def unforward(self, local_port: int, address: str = "127.0.0.1") -> None:
        """Remove a port forward of this machine."""
        monitor.remove(ProcessFiles(self.directory).monitor, address, local_port)

    def _shared(self) -> list[str]:
        """Return the start of an ssh command line for the shared connection; open it first."""
        if self._owned:
            with self._connecting:
                self._owned.connect()
        return ssh.client(self.directory, shared=True)

    def _short(
        self, argv: Sequence[str], env: Mapping[str, str] | None, cwd: str | None
    ) -> tuple[str, list[str]]:
        """Return the name of a group for a command, and the command line that runs it there."""
        name = f"run.{secrets.token_hex(8)}"
        return name, [*self._shared(), f". /lab/run {name}; {ssh.script(argv, env, cwd)}"]

    def _kill(self, name: str) -> None:
        """Kill a command of which nobody wants the result any more, by its group's *name*."""
        # The group is absent if the command has not begun, or has ended, and the lab may hang; that
        # must not hide the reason.
        with suppress(subprocess.SubprocessError):
            self._script(f"echo 1 >$(echo /sys/fs/cgroup/*/{name})/cgroup.kill")

    def _script(self, text: str) -> None:
        line = [*self._shared(), text]
        subprocess.run(
            line, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=_KILL_SECONDS
        )
