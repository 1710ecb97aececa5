"""Cold start of a lab host: the kernel boots, and the lab says when it is ready.

``host.py`` uses the lab once it is up.
"""

import socket
import time
from pathlib import Path
from typing import Final

from gdbstub.errors import LabError
from gdbstub.lab import cache, cpio, image, monitor, overlay, qemu, ssh, tools
from gdbstub.lab.processes import LabProcesses, ProcessFiles
from gdbstub.lab.progress import Steps
from gdbstub.streams import note

READY: Final = b"lab: ready"
BOOT_SECONDS: Final = 180.0
"""Longest wait for a boot, twenty times its usual time."""


def start(options: qemu.Options, ram: qemu.Ram | None = None) -> LabProcesses:
    """Boot a lab, with its memory in *ram* if given; return when commands can run in it.

    Raises:
        LabError: a program is missing, the image cannot be built, or the boot fails.
    """
    tools.require(qemu.PROGRAM, "ssh", "ssh-keygen", "cpio")
    prepared = image.prepare(options.suite)
    source = overlay.source()

    def command_line(wiring: qemu.Wiring) -> list[str]:
        arguments = qemu.boot_arguments(options, prepared.kernel, wiring.directory / "initrd.cpio")
        return qemu.command_line(options, wiring, arguments, ram)

    processes = LabProcesses.prepare(command_line)
    directory = processes.directory
    try:
        with cache.explained(directory), Steps("starting the lab", 3) as steps:
            steps.step("packing the project")
            pack(directory, prepared, source)
            steps.step("booting (about 6 s)")
            processes.go()
            wait_until_ready(processes.console, directory)
            processes.console.close()
            (directory / "initrd.cpio").unlink()
            steps.step("connecting")
            processes.reach(
                monitor.forwards(monitor.command(ProcessFiles(directory).monitor, monitor.TABLE))
            )
            processes.connect()
    except BaseException:
        processes.stop()
        raise
    return processes


def pack(directory: Path, prepared: image.Image, source: overlay.OverlaySource) -> None:
    """Write the initramfs of this boot to *directory*: image, source, and a new key's overlay."""
    extra = directory / "overlay.cpio"
    overlay.write(extra, directory, ssh.make_key(directory))
    cpio.join([prepared.initrd, source.archive, extra], directory / "initrd.cpio")
    extra.unlink()
    ProcessFiles(directory).source.write_text(source.digest)


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
