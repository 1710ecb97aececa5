"""The guest and the client, built with the cross compiler."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.debian_qemu import Tree
from gdbstub.linux.elf import Executable, parse

_HERE: Final = Path(__file__).parent
# Behind 0x4000_0000, where QEMU puts its device tree.
_GUEST_FLAGS: Final = (
    "-O1", "-g", "-nostdlib", "-ffreestanding", "-static", "-fno-pic", "-fno-pie", "-no-pie",
    "-mgeneral-regs-only", "-fno-stack-protector", "-Wall", "-Werror", "-Wl,--build-id=none",
    "-Wl,--section-start=.start=0x40080000", "-Wl,-Ttext=0x40081000",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Programs:
    """Programs built for one run; ``files`` are copied into the lab."""

    guest: Path
    symbols: Executable
    files: tuple[Path, ...]


def build(directory: Path, tree: Tree) -> Programs:
    """Build the guest and the client into *directory*."""
    guest, client = directory / "guest.elf", directory / "client"
    argv = ["aarch64-linux-gnu-gcc", *_GUEST_FLAGS, "-o", str(guest), str(_HERE / "guest.c")]
    subprocess.run(argv, check=True)
    tree.compile(_HERE / "client.c", client)
    files = (guest, client, _HERE / "bare_loop.py")
    return Programs(guest, parse(guest.read_bytes(), guest.name), files)
