"""The cross compiler as a function: ``guest.c`` into an ELF and the bytes to load."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from elftools.elf.elffile import ELFFile

_HERE: Final = Path(__file__).parent
_FLAGS: Final = (
    "-O0", "-g", "-nostdlib", "-ffreestanding", "-static", "-fno-pic", "-fno-pie", "-no-pie",
    "-mgeneral-regs-only", "-fno-stack-protector", "-Wall", "-Werror", "-Wl,--build-id=none",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class BuiltGuest:
    """``image`` is what lies at 0x4000_0000 at first; ``code_size`` of it is never written."""

    elf: Path
    image: bytes
    code_size: int


def build(directory: Path, source: Path = _HERE / "guest.c", *more: str) -> BuiltGuest:
    """Build *source* with *more* options for the compiler."""
    elf, binary = directory / "guest.elf", directory / "guest.bin"
    script = _HERE / "guest.ld"
    flags = [*_FLAGS, *more]
    subprocess.run(["aarch64-linux-gnu-gcc", *flags, "-T", script, "-o", elf, source], check=True)
    subprocess.run(["aarch64-linux-gnu-objcopy", "-O", "binary", elf, binary], check=True)
    with elf.open("rb") as file:
        text = ELFFile(file).get_section_by_name(".text")
        assert text is not None
        return BuiltGuest(elf, binary.read_bytes(), text["sh_size"])
