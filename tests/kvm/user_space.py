"""The user space of the kvm ring's Linux guests: the demo's, and our programs over it.

Each script of ``guests/linux`` can be a guest's first process (``rdinit=/NAME``).
"""

import re
import shutil
import struct
import subprocess
from pathlib import Path

from gdbstub.lab import cpio, demo, kernel

SOURCES = Path(__file__).parent / "guests" / "linux"
BKPT32 = 0xE120_0070


def build(directory: Path, suite: str = "") -> Path:
    """Make the initramfs in *directory*, with modules of the kernel of *suite* (``lab.kernel``)."""
    tree = directory / "tree"
    tree.mkdir()
    for source in (*SOURCES.glob("*.c"), *SOURCES.glob("*.S")):
        flags = ["-O1", "-Wall", "-Werror", "-ffreestanding", "-nostdlib", "-static"]
        output = ["-fno-stack-protector", "-o", str(tree / source.stem), str(source)]
        subprocess.run(["aarch64-linux-gnu-gcc", *flags, *output], check=True)
    for script in SOURCES.glob("*.sh"):
        shutil.copy(script, tree / script.stem)
    modules = kernel.prepare(suite).modules
    (module,) = modules.glob("*-failover.ko")
    shutil.copy(module, tree / "module.ko")
    (tree / "ko").mkdir()
    for each in modules.glob("*failover.ko"):
        shutil.copy(each, tree / "ko" / each.name.split("-", 1)[1])
    (tree / "bkpt").write_bytes(program32(BKPT32))
    for path in tree.iterdir():
        path.chmod(0o755)
    cpio.pack(tree, directory / "ours.cpio")
    cpio.join([demo.initrd(), directory / "ours.cpio"], directory / "initrd.cpio")
    return directory / "initrd.cpio"


def arguments(initrd: Path, init: str) -> list[str | Path]:
    """Return the arguments of ``gdbstub run`` that start *init* as the first process."""
    append = f"{demo.COMMAND_LINE} rdinit=/{init}"
    return [demo.prepare().image, "--initrd", initrd, "--append", append]


def printed(console: str) -> str:
    """Return what programs wrote to *console*: the kernel's lines may come within theirs."""
    return re.sub(r"\[ *\d+\.\d{6}\] [^\n]*\n", "", console)


def program32(word: int) -> bytes:
    """An executable of 32-bit Arm, for which there is no compiler here: one instruction.

    System V ABI, chapter 4: the ELF header and one program header, then the word.
    """
    ident = b"\x7fELF" + bytes((1, 1, 1)) + bytes(9)
    size, base = 52 + 32, 0x1_0000
    machine, flags = 40, 0x0500_0000  # EM_ARM, EF_ARM_ABI_VER5
    header = struct.pack(
        "<16sHHIIIIIHHHHHH", ident, 2, machine, 1, base + size, 52, 0, flags, 52, 32, 1, 0, 0, 0
    )
    segment = struct.pack("<8I", 1, 0, base, base, size + 4, size + 4, 5, 0x1000)
    return header + segment + struct.pack("<I", word)
