"""The cross compiler as a function: ``examples/race.c`` into an ELF."""

import subprocess
from pathlib import Path
from typing import Final

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
_FLAGS: Final = (
    "-g", "-O1", "-nostdlib", "-static", "-ffreestanding", "-fno-stack-protector",
    "-mgeneral-regs-only", "-Wl,-N,--build-id=none,--no-warn-rwx-segments",
)  # fmt: skip


def build(elf: Path, *, rounds: int, pause: int = 100, base: int = 0x4000_0000) -> Path:
    """Build the guest for a place in RAM, with *rounds* additions and a *pause* before each."""
    options = [f"-DROUNDS={rounds}", f"-DPAUSE={pause}", f"-Wl,-Ttext={base:#x}"]
    argv = ["aarch64-linux-gnu-gcc", *_FLAGS, *options, "-o", str(elf), str(EXAMPLES / "race.c")]
    subprocess.run(argv, check=True)
    return elf
