"""The GNU cross assembler as a function, for tests outside the lab."""

import subprocess
import tempfile
from functools import cache
from pathlib import Path


@cache
def assemble(text: str) -> bytes:
    """The A64 words of *text*."""
    with tempfile.TemporaryDirectory() as directory:
        source, object_, binary = (Path(directory, name) for name in ("a.s", "a.o", "a.bin"))
        source.write_text(f"{text}\n")
        subprocess.run(
            ["aarch64-linux-gnu-as", "-march=armv8.3-a+sve", "-o", object_, source], check=True
        )
        subprocess.run(["aarch64-linux-gnu-objcopy", "-O", "binary", object_, binary], check=True)
        return binary.read_bytes()
