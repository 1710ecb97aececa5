"""Linux guests of QEMU's stub and of this project's, on the same KVM, for ``bench.linux_tasks``.

Both boot the same kernel and initramfs in one lab. Nothing is measured here.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from gdbstub.lab import cache, cpio, debian, debug_symbols, demo, kernel, vmm
from gdbstub.lab.host import VARIABLE, Lab

QEMU: Final = "QEMU"
OURS: Final = "gdbstub"
PORT: Final = 1234
#: Command lines: of a guest that boots, and of one without an init, which panics and then resets.
BOOTS: Final = "console=ttyAMA0 quiet rdinit=/with-driver"
PANICS: Final = "console=ttyAMA0 quiet rdinit=/none root=/dev/none panic=-1"
#: QEMU's stub knows nothing of KASLR.
FIXED: Final = " nokaslr"
#: The driver of QEMU's device by which it has VMCOREINFO.
_DRIVER: Final = "qemu_fw_cfg"
_INIT: Final = f"#!/bin/busybox sh\n/bin/busybox insmod /{_DRIVER}.ko\nexec /init\n"
#: What our stub says when GDB can attach, and what QEMU's monitor does.
_LISTENING: Final = re.compile(r"listening on localhost:(\d+)")
_PAUSED: Final = re.compile(r"VM status: paused")
_SAYS_INIT: Final = re.compile(re.escape(demo.INIT_LINE))


class Files(NamedTuple):
    """Files that both guests boot, and symbols of the kernel: of its own, and with types."""

    image: Path
    initrd: Path
    symbols: Path
    vmlinux: Path


def prepare(directory: Path) -> Files:
    """Return the demo guest's files, with QEMU's driver in the initramfs, made in *directory*."""
    guest = demo.prepare()
    tree = directory / "tree"
    tree.mkdir()
    (tree / f"{_DRIVER}.ko").write_bytes(_driver(directory))
    (tree / "with-driver").write_text(_INIT)
    (tree / "with-driver").chmod(0o755)
    cpio.pack(tree, directory / "driver.cpio")
    initrd = directory / "initrd.cpio"
    cpio.join([guest.initrd, directory / "driver.cpio"], initrd)
    vmlinux = debug_symbols.prepare(guest.image.read_bytes())
    return Files(guest.image, initrd, guest.symbols, vmlinux)


def _driver(directory: Path) -> bytes:
    """Return the driver's module, of the package that the kernel is from."""
    place = directory / "package"
    place.mkdir()
    with debian.Arm64(cache.root() / "apt", place) as packages:
        packages.update()
        name = packages.dependency(kernel.META_PACKAGE, r"linux-image-\S+-cloud-arm64")
        version = re.findall(r"^Version: (\S+)", packages.show(name), re.MULTILINE)[0]
        (deb,) = packages.download([(name, version)])
    debian.unpack(deb, place, wanted=f"./lib/modules/*{_DRIVER}.ko*")
    (path,) = place.rglob(f"{_DRIVER}.ko*")
    return kernel.content(path)


class Guests:
    """Guests in *lab*, one at a time; the files of ours are made in *directory*."""

    def __init__(self, lab: Lab, files: Files, directory: Path) -> None:
        """Put QEMU and the files into the lab, so that no start waits for that."""
        self.lab, self.files, self.directory = lab, files, directory
        vmm.install(lab, vmm.prepare())
        self._image, self._initrd = lab.put(files.image), lab.put(files.initrd)

    def ours(self, append: str, *options: str) -> subprocess.Popen[bytes]:
        """Start our stub, as a user does: its command outside the lab."""
        files = self.files
        return subprocess.Popen(
            [sys.executable, "-m", "gdbstub", "run", str(files.image), "--initrd",
             str(files.initrd), "--append", append, "--memory=512M",
             "--gdb=localhost:0", *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            cwd=self.directory, env={**os.environ, VARIABLE: str(self.lab.directory)},
        )  # fmt: skip

    def qemu(self, append: str, *options: str) -> subprocess.Popen[bytes]:
        """Start QEMU with its stub, in the lab."""
        line = [
            *("chroot", vmm.ROOT, vmm.PROGRAM, "-M", "virt,gic-version=host", "-accel", "kvm"),
            *("-cpu", "host", "-smp", "1", "-m", "512", "-nodefaults", "-display", "none"),
            *("-kernel", self._image, "-initrd", self._initrd),
            *("-append", append, "-device", "vmcoreinfo"),
            *("-gdb", f"tcp::{PORT}", *options),
        ]
        pipe = subprocess.PIPE
        return self.lab.popen(line, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT)

    @contextmanager
    def running(self, stub: str, append: str, *options: str) -> Iterator[int]:
        """Start a guest of *stub* that boots; yield its port, once init runs."""
        with ExitStack() as stack:
            if stub == QEMU:
                port = stack.enter_context(self._forwarded())
                process = self.qemu(append, "-serial", "stdio", *options)
                stack.callback(end, process)
            else:
                process = self.ours(append, "--free-run", *options)
                stack.callback(end, process)
                port = int(wait_for(process, _LISTENING)[1])
            wait_for(process, _SAYS_INIT)
            yield port

    @contextmanager
    def halted(self, stub: str, append: str, *options: str) -> Iterator[int]:
        """Start a guest of *stub* that is halted; yield the port as soon as GDB can attach."""
        with ExitStack() as stack:
            if stub == QEMU:
                port = stack.enter_context(self._forwarded())
                process = self.qemu(append, "-serial", "null", "-monitor", "stdio", "-S", *options)
                stack.callback(end, process)
                assert process.stdin is not None
                process.stdin.write(b"info status\n")  # it is answered once all has begun
                process.stdin.flush()
                wait_for(process, _PAUSED)
            else:
                process = self.ours(append, *options)
                stack.callback(end, process)
                port = int(wait_for(process, _LISTENING)[1])
            yield port

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Start a guest that boots in QEMU on this machine, emulated, with its QMP at ``qmp``."""
        files = self.files
        line = [
            *(vmm.PROGRAM, "-M", "virt", "-cpu", "max,pauth-impdef=on", "-smp", "1", "-m", "512"),
            *("-nodefaults", "-display", "none", "-serial", "stdio", "-device", "vmcoreinfo"),
            *("-kernel", str(files.image), "-initrd", str(files.initrd), "-append", BOOTS),
            *("-qmp", "unix:qmp,server=on,wait=off"),
        ]
        pipe = subprocess.PIPE
        process = subprocess.Popen(line, stdin=pipe, stdout=pipe, cwd=self.directory)
        try:
            wait_for(process, _SAYS_INIT)
            yield
        finally:
            end(process)

    @contextmanager
    def _forwarded(self) -> Iterator[int]:
        port = self.lab.forward(PORT)
        try:
            yield port
        finally:
            self.lab.unforward(port)


def wait_for(process: subprocess.Popen[bytes], pattern: re.Pattern[str]) -> re.Match[str]:
    """Read what *process* says until *pattern* is in it.

    Raises:
        RuntimeError: it ended before.
    """
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line.decode("utf-8", "replace")
        if match := pattern.search(said):
            return match
    raise RuntimeError(f"the stub has ended before {pattern.pattern!r}:\n{said}")


def end(process: subprocess.Popen[bytes]) -> None:
    """End *process*, and wait for it."""
    process.terminate()
    process.communicate()
