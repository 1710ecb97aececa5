"""The stubs that are compared, as processes in a lab: QEMU's and this project's.

All run the same guest with the same hardware; which one a row measures, it does not know.
"""

import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bench.debian_qemu import PROGRAM, UVLOOP, Tree
from gdbstub.lab.host import Lab

PORT: Final = 1234
#: A chroot in the lab that the stubs' files have the same names in.
ROOT: Final = "/bench"
_MOUNTS: Final = ("dev", "proc", "sys")
_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class Stub:
    """What is started, by its name in the table, and the process that comes of it.

    ``chunk`` is how much GDB reads at a time.
    """

    name: str
    program: str
    command: tuple[str, ...]
    chunk: int

    def argv(self, guest: str, vcpus: int) -> list[str]:
        """The command that serves *guest* at ``PORT``."""
        return [part.format(guest=guest, vcpus=vcpus, port=PORT) for part in self.command]


_RUN: Final = (
    "gdbstub", "run", "{guest}", "--host=kvm", "--smp={vcpus}", "--memory=512M", "--inner",
    "--gdb=0.0.0.0:{port}",
)  # fmt: skip
# Half of PacketSize, as GDB reckons.
OURS: Final = Stub("gdbstub", "python3", _RUN, 0x10000)
OURS_UVLOOP: Final = Stub(
    "gdbstub, uvloop", "python3", ("env", f"PYTHONPATH={ROOT}/{UVLOOP}", *_RUN), 0x10000
)
QEMU: Final = Stub(
    "QEMU",
    PROGRAM,
    ("chroot", ROOT, PROGRAM, "-M", "virt,gic-version=host", "-accel", "kvm", "-cpu", "host",
     "-smp", "{vcpus}", "-m", "512", "-nodefaults", "-display", "none", "-serial", "null",
     "-monitor", "none", "-kernel", "{guest}", "-gdb", "tcp::{port}", "-S"),
    0x800,
)  # fmt: skip


class Place:
    """A lab that has all that is measured in it."""

    def __init__(self, lab: Lab, tree: Tree, files: Sequence[Path]) -> None:
        """Unpack *tree* and copy *files*, which have the same path in and out of the chroot."""
        self.lab = lab
        archive = lab.put(tree.archive)
        mounts = "; ".join(f"mount --bind /{name} {ROOT}/{name}" for name in _MOUNTS)
        lab.run(["sh", "-ec", f"mkdir {ROOT}; tar -C {ROOT} -xf {archive}; rm {archive}; {mounts}"])
        for path in files:
            lab.put(path, f"{ROOT}/files")
        lab.run(["ln", "-s", f"{ROOT}/files", "/files"])

    def measure(self, *arguments: str | float) -> list[int]:
        """Run the client (``client.c``); the numbers that it prints.

        Raises ``RuntimeError`` with the client's words when it fails.
        """
        argv = ["/files/client", str(PORT), *map(str, arguments)]
        done = self.lab.run(argv, timeout=_SECONDS, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)}: {done.stderr.decode().strip()}")
        return [int(number) for number in done.stdout.split()]


class Serving:
    """A stub while it is entered; ``port`` leads to it from this machine."""

    def __init__(self, place: Place, stub: Stub, vcpus: int = 1) -> None:
        """Nothing runs yet."""
        self.place, self.stub, self.vcpus = place, stub, vcpus

    def __enter__(self) -> Self:
        """Start it, and wait until it listens."""
        lab = self.place.lab
        with ExitStack() as stack:
            # The lab ends it a moment after we ended the connection that it was started by.
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
        """Let the guest go to *address*, which it comes by when the MMU and the caches are on."""
        there = f"0,{address:x},4"
        self.place.measure("rounds", "1x", "--", f"Z{there}", "vCont;c", f"z{there}", "--")

    @property
    def loop(self) -> str:
        """The event loop of a stub in Python: what is mapped into it, not what was asked for."""
        script = f"grep -q {UVLOOP} /proc/$(pidof {self.stub.program})/maps"
        found = not self.place.lab.run(["sh", "-c", script], check=False).returncode
        return UVLOOP if found else "asyncio"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        self._stack.close()
