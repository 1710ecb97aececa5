"""The guest of these tests, built once a session."""

import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def guest_kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile guest.c; the plugin's fixture of this name takes the marker's path."""
    elf = tmp_path_factory.mktemp("build") / "guest.elf"
    subprocess.run(
        [
            *("aarch64-linux-gnu-gcc", "-g", "-O1", "-nostdlib", "-static", "-ffreestanding"),
            *("-fno-pic", "-no-pie", "-mgeneral-regs-only", "-fno-omit-frame-pointer", "-Wall"),
            *("-Wl,-N,-Ttext=0x40000000,--build-id=none,--no-warn-rwx-segments", "-o", str(elf)),
            str(Path(__file__).with_name("guest.c")),
        ],
        check=True,
    )
    return elf
