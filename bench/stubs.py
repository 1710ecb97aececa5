"""The compared stubs, as processes in a lab: QEMU's and this project's.

All run the same guest with the same hardware. A row does not know which stub it measures.
"""

import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bench.debian_qemu import PROGRAM, Tree
from gdbstub.lab.host import Lab

PORT: Final = 1234
#: Directory of the chroot in the lab; the stubs' files have the same paths inside.
ROOT: Final = "/bench"
_MOUNTS: Final = ("dev", "proc", "sys")
_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class Stub:
    """One stub: its name in the table, its process, and its command line.

    ``chunk`` is the number of bytes that GDB reads at a time.
    """

    name: str
    program: str
    command: tuple[str, ...]
    chunk: int

    def argv(self, guest: str, vcpus: int) -> list[str]:
        """Return the command that serves *guest* at ``PORT``."""
        return [part.format(guest=guest, vcpus=vcpus, port=PORT) for part in self.command]


_RUN: Final = (
    "gdbstub", "run", "{guest}", "--host=kvm", "--smp={vcpus}", "--memory=512M", "--inner",
    "--gdb=0.0.0.0:{port}",
)  # fmt: skip
# Half of PacketSize, as GDB computes it.
OURS: Final = Stub("gdbstub", "python3", _RUN, 0x10000)
#: The floor: a stub in C that does only what the rows ask of it (``floor.c``).
FLOOR: Final = Stub("C floor", "floor", ("/files/floor", "{port}", "{guest}"), 0x10000)
QEMU: Final = Stub(
    "QEMU",
    PROGRAM,
    ("chroot", ROOT, PROGRAM, "-M", "virt,gic-version=host", "-accel", "kvm", "-cpu", "host",
     "-smp", "{vcpus}", "-m", "512", "-nodefaults", "-display", "none", "-serial", "null",
     "-monitor", "none", "-kernel", "{guest}", "-gdb", "tcp::{port}", "-S"),
    0x800,
)  # fmt: skip


#: This project's, of a guest of QEMU, which has no stub then.
FOREIGN: Final = Stub(
    "gdbstub launch",
    "python3",
    ("gdbstub", "launch", "--host=kvm", "--inner", "--gdb=0.0.0.0:{port}", "--",
     *QEMU.command[: QEMU.command.index("-gdb")]),
    0x10000,
)  # fmt: skip


class Place:
    """A lab with the files for the measurements, and with the tree where QEMU is measured."""

    def __init__(self, lab: Lab, files: Sequence[Path], tree: Tree | None = None) -> None:
        """Unpack *tree* and copy *files*, which have the same path in and out of the chroot."""
        self.lab = lab
        if tree:
            archive = lab.put(tree.archive)
            mounts = "; ".join(f"mount --bind /{name} {ROOT}/{name}" for name in _MOUNTS)
            unpack = f"mkdir {ROOT}; tar -C {ROOT} -xf {archive}; rm {archive}; {mounts}"
            lab.run(["sh", "-ec", unpack])
        for path in files:
            lab.put(path, f"{ROOT}/files")
        lab.run(["ln", "-s", f"{ROOT}/files", "/files"])

    def measure(self, *arguments: str | float) -> list[int]:
        """Run the client (``client.c``); return the numbers that it prints.

        Raises ``RuntimeError`` with the client's message if it fails.
        """
        argv = ["/files/client", str(PORT), *map(str, arguments)]
        done = self.lab.run(argv, timeout=_SECONDS, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)}: {done.stderr.decode().strip()}")
        return [int(number) for number in done.stdout.split()]


class Serving:
    """A running stub, as a context manager; ``port`` on this machine is forwarded to it."""

    def __init__(self, place: Place, stub: Stub, vcpus: int = 1) -> None:
        """Prepare a stub that is not started yet."""
        self.place, self.stub, self.vcpus = place, stub, vcpus

    def __enter__(self) -> Self:
        """Start the stub; wait until it listens."""
        lab = self.place.lab
        with ExitStack() as stack:
            # The lab ends it a moment after the end of the connection that started it.
            stack.callback(self.place.measure, "free")
            process = stack.enter_context(
                lab.popen(
                    self.stub.argv("/files/guest.elf", self.vcpus),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
            stack.callback(process.terminate)
            self.place.measure("listening")
            self.port = lab.forward(PORT)
            stack.callback(lab.unforward, self.port)
            self._stack = stack.pop_all()
        return self

    def begin(self, address: int) -> None:
        """Run the guest to *address*, which it executes after it enabled the MMU and the caches."""
        there = f"0,{address:x},4"
        self.place.measure("rounds", "1x", "--", f"Z{there}", "vCont;c", f"z{there}", "--")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the stub."""
        self._stack.close()
