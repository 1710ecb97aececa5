"""The guest and the client, built with the cross compiler."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import sysroot
from gdbstub.linux.elf import Executable, parse

_HERE: Final = Path(__file__).parent
# Behind 0x4000_0000, where QEMU puts its device tree.
_GUEST_FLAGS: Final = (
    "-O1", "-g", "-nostdlib", "-ffreestanding", "-static", "-fno-pic", "-fno-pie", "-no-pie",
    "-mgeneral-regs-only", "-fno-stack-protector", "-Wall", "-Werror", "-Wl,--build-id=none",
    "-Wl,--section-start=.start=0x40080000", "-Wl,-Ttext=0x40081000",
)  # fmt: skip
#: The programs that run in the lab.
_PROGRAMS: Final = ("client", "floor", "false_hits")


@dataclass(frozen=True, slots=True)
class Programs:
    """Programs built for one run; ``files`` are copied into the lab."""

    guest: Path
    symbols: Executable
    files: tuple[Path, ...]


def build(directory: Path) -> Programs:
    """Build the guest, the client and the floors into *directory*."""
    guest = directory / "guest.elf"
    argv = [sysroot.COMPILER, *_GUEST_FLAGS, "-o", str(guest), str(_HERE / "guest.c")]
    subprocess.run(argv, check=True)
    root = sysroot.prepare()
    files = [guest, _HERE / "bare_loop.py"]
    for name in _PROGRAMS:
        files.append(directory / name)
        sysroot.compile_static(root, _HERE / f"{name}.c", files[-1])
    return Programs(guest, parse(guest.read_bytes(), guest.name), tuple(files))
