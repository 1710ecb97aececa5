"""Debian's QEMU in the lab, started without a stub, and ``gdbstub attach`` beside it."""

import contextlib
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from gdbstub.lab import demo, vmm
from gdbstub.lab.host import Lab
from gdbstub.lab.port_forwards import TcpForward
from gdbstub.lab.remote_run import RemoteRun, RunRequest
from tests.bounds import HANGS
from tests.kvm import virtio_guest
from tests.kvm.stub import Lines

MEMORY: Final = 192

#: The place of a QMP socket in the lab, and the options that put it there.
_QMP: Final = "/tmp/qmp"
QMP_OPTIONS: Final = ("-qmp", f"unix:{_QMP},server=on,wait=off")
_ASK: Final = """\
import pathlib, socket, sys
from gdbstub.foreign.qmp import QmpClient
with socket.socket(socket.AF_UNIX) as connection:
    monitor = QmpClient(connection, pathlib.Path(sys.argv[1]), float(sys.argv[2]))
    for command in sys.argv[3:]:
        print(command, monitor.execute(command, {}))
"""

#: QEMU forks it for each connection of the guest, and it returns what it gets.
_ECHO: Final = "/usr/bin/busybox"


class Host:
    """A lab with QEMU in it."""

    def __init__(self, lab: Lab, directory: Path, initrd: Path) -> None:
        self.lab = lab
        self.initrd = virtio_guest.build(directory, initrd)
        vmm.install(lab, vmm.prepare())
        lab.run(["cp", _ECHO, vmm.ROOT + _ECHO])

    def arguments(self, name: str, vcpus: int, disk: Path, *more: str) -> list[str]:
        """QEMU's command line for a guest that computes, writes and sends."""
        network = f"user,id=net,restrict=on,guestfwd=tcp:10.0.2.100:9-cmd:{_ECHO} cat"
        append = "console=ttyAMA0 nokaslr quiet rdinit=/virtio"
        return [
            *("qemu-system-aarch64", "-M", "virt,gic-version=host", "-accel", "kvm"),
            *("-cpu", "host", "-smp", str(vcpus), "-m", str(MEMORY), "-name", name),
            *("-nodefaults", "-display", "none", "-serial", "stdio"),
            *("-kernel", str(demo.prepare().image), "-initrd", str(self.initrd)),
            *("-append", append, "-drive", f"file={disk},if=virtio,format=raw"),
            *("-netdev", network, "-device", "virtio-net-pci,netdev=net,romfile="),
            *more,
        ]

    def contents(self, disk: Path) -> bytes:
        """Read what the guest has made of *disk*."""
        return self.lab.run(["cat", self.lab.put(disk)]).stdout


class Qemu:
    """A guest of QEMU in the lab, while it is entered; its console is QEMU's output."""

    def __init__(self, host: Host, directory: Path, vcpus: int, *more: str) -> None:
        self.host = host
        self.name = directory.name
        self.vcpus = vcpus
        self.disk = virtio_guest.make_disk(directory / f"{directory.name}.img")
        self.arguments = host.arguments(self.name, vcpus, self.disk, *more)

    def __enter__(self) -> Self:
        self.process = self.start()
        assert self.process.stdout is not None
        self.console = Lines(self.process.stdout)
        try:
            self.wait_until_ready()
        except BaseException:
            self.process.kill()
            raise
        return self

    def start(self) -> "subprocess.Popen[bytes]":
        """Start QEMU."""
        pipe = subprocess.PIPE
        command = vmm.command(self.host.lab, self.arguments)
        return self.host.lab.popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT)

    def wait_until_ready(self) -> None:
        """Wait until the last chain has begun."""
        self.console.wait_for(f"chain {self.vcpus}: begun")

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()  # and the lab kills QEMU
        self._close_keyboard()
        self.process.wait()
        self.console.rest()

    def _close_keyboard(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def type(self, line: str) -> None:
        """Type a line at the guest's console."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def ask(self, *commands: str) -> str:
        """Have QEMU's monitor, of ``QMP_OPTIONS``, execute *commands*; what it has answered."""
        argv = ["python3", "-c", _ASK, _QMP, str(HANGS), *commands]
        return self.host.lab.run(argv).stdout.decode()

    def finish(self) -> int:
        """End the guest by itself, and check all that it has done; the number of links."""
        self.type("end")
        self._close_keyboard()
        self.process.wait(HANGS)
        copy = self.disk.with_suffix(".copy")
        copy.write_bytes(self.host.contents(self.disk))
        return virtio_guest.check(copy, self.console.rest(), self.vcpus)


class Launched(Qemu):
    """The same by ``gdbstub launch`` with *options*."""

    def __init__(
        self, host: Host, directory: Path, vcpus: int, *more: str, options: Sequence[str] = ()
    ) -> None:
        super().__init__(host, directory, vcpus, *more)
        self.options = options

    def start(self) -> "subprocess.Popen[bytes]":
        pipe = subprocess.PIPE
        argv = [sys.executable, "-m", "gdbstub", "launch", "--host=lab", "--gdb", "localhost:0"]
        return subprocess.Popen(
            [*argv, *self.options, "--", *self.arguments], stdin=pipe, stdout=pipe, stderr=pipe
        )

    def wait_until_ready(self) -> None:
        """Wait until a client can connect: the guest is halted."""
        assert self.process.stderr is not None
        self.messages = Lines(self.process.stderr)
        self.port = int(self.messages.wait_for(r"listening on localhost:(\d+)")[1])

    @property
    def remote(self) -> str:
        """The address, as GDB takes it."""
        return f"localhost:{self.port}"

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self._close_keyboard()
        self.process.wait(HANGS)
        self.console.rest()
        self.messages.rest()


class Attached:
    """``gdbstub attach`` in the lab, while it is entered."""

    def __init__(self, host: Host, target: str, *options: str | Path) -> None:
        listening = threading.Event()

        def heard(_address: str, port: int) -> None:
            self.port = port
            listening.set()

        self._run = RemoteRun(
            RunRequest(
                argv=[target, *options],
                forward=TcpForward("localhost", 0),
                stdin=subprocess.DEVNULL,
                command=("gdbstub", "attach"),
            ),
            heard,
        )
        try:
            assert listening.wait(HANGS), "gdbstub attach does not listen"
        except BaseException:
            self._run.close()
            raise

    @property
    def remote(self) -> str:
        """The address, as GDB takes it."""
        return f"localhost:{self.port}"

    def stop(self) -> int:
        """End it by SIGTERM; the exit status."""
        self._run.stop()
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; the exit status."""
        return self._run.wait(HANGS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._run.close()


def listed(host: Host) -> dict[str, list[str]]:
    """The rows of ``gdbstub vms``, by the process's number."""
    said = host.lab.run(["gdbstub", "vms"], check=False).stdout.decode()
    return {
        row[0]: row[1:]
        for line in said.splitlines()[1:]
        if (row := re.split(r" {2,}", line.strip()))
    }
