"""A running lab host: boot or join one, run commands, copy files in, forward ports.

Nothing here is about guests and debuggers; ``remote_run.py`` adds that.
"""

import os
import secrets
import shlex
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from gdbstub.errors import LabError
from gdbstub.lab import boot, monitor, private, ssh
from gdbstub.lab.qemu import FILES_ADDRESS, FILES_PORT, Options

VARIABLE: Final = "GDBSTUB_LAB"
"""Environment variable with the directory of a running lab, which is then used."""

Stream = int | IO[bytes] | None


class Lab:
    """A lab host that is up; use as a context manager, or ``close`` it."""

    def __init__(self, directory: Path, owned: "boot.LabProcesses | None" = None) -> None:
        """Use the lab in *directory*; ``close`` ends the processes of *owned*, if given."""
        self.directory = directory
        self._owned = owned

    @classmethod
    def boot(cls, options: Options | None = None, include: Sequence[Path] = ()) -> Self:
        """Boot a lab (about 6 s) with the files *include* in root's home directory.

        Raises:
            LabError: the image cannot be built, or the boot fails.
        """
        machine = boot.start(options or Options(), include)
        return cls(machine.directory, machine)

    @classmethod
    def attach(cls, directory: Path) -> Self:
        """Use a lab that another process booted; ``close`` leaves it running.

        Raises:
            LabError: no lab is running in *directory*.
        """
        if not (directory / "ssh_config").exists():
            raise LabError(f"no lab is running in {directory}: unset {VARIABLE} to boot one")
        return cls(directory)

    @classmethod
    def open(cls, options: Options | None = None, include: Sequence[Path] = ()) -> Self:
        """Use the lab that ``GDBSTUB_LAB`` names, or boot one; raises as these two do."""
        if directory := os.environ.get(VARIABLE):
            return cls.attach(Path(directory))
        return cls.boot(options, include)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
            try:
                probe.connect(str(self.directory / "qmp"))
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
        name = f"run.{secrets.token_hex(8)}"
        command = f". /lab/run {name}; {ssh.script(argv, env, cwd)}"
        line = [*ssh.client(self.directory, shared=True), command]
        try:
            return subprocess.run(
                line, input=data, capture_output=True, check=check, timeout=timeout
            )
        except subprocess.CalledProcessError:
            raise
        except BaseException:
            self._script(f"echo 1 >$(echo /sys/fs/cgroup/*/{name})/cgroup.kill")
            raise

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
        if not path.is_file():
            raise LabError(f"no such file: {path}")
        status = path.stat()
        name = f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
        target = f"{directory or f'/put/{name}'}/{path.name}"
        if directory is None and self._script(f"test -e {shlex.quote(target)}", check=False) == "0":
            return target
        link = self.directory / "outbox" / f"{name}.{secrets.token_hex(4)}"
        link.symlink_to(path.resolve())
        part, place = shlex.quote(f"{target}.{link.name}"), shlex.quote(target)
        try:
            self._script(
                f"set -e; mkdir -p {shlex.quote(str(Path(target).parent))}; "
                f"echo {link.name} | "
                f"socat -b 1048576 -t 600 - TCP:{FILES_ADDRESS}:{FILES_PORT} >{part}; "
                f"test $(stat -c %s {part}) = {status.st_size}; "
                f"chmod {status.st_mode & 0o777:o} {part}; mv {part} {place}"
            )
        except subprocess.CalledProcessError as error:
            raise LabError(
                f"cannot copy {path} ({status.st_size} bytes) into the lab: its memory may be full"
            ) from error
        finally:
            link.unlink()
        return target

    def forward(self, port: int, address: str = "127.0.0.1", local_port: int = 0) -> int:
        """Forward a TCP port of this machine (0: any free one) to *port* in the lab; return it.

        QEMU listens and copies the bytes.

        Raises:
            LabError: QEMU cannot listen on *address* and *local_port*.
        """
        with private.locked(self.directory / "forwards"):
            # A free port is found by comparing two listings.
            return monitor.add(self.directory / "qmp", address, local_port, port)

    def unforward(self, local_port: int, address: str = "127.0.0.1") -> None:
        """Remove a port forward of this machine."""
        monitor.remove(self.directory / "qmp", address, local_port)

    def _script(self, text: str, *, check: bool = True) -> str:
        line = [*ssh.client(self.directory, shared=True), text]
        done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, check=check)
        return str(done.returncode)
