"""Runs of ``gdbstub run`` that are looked at for what they leave behind."""

import os
import secrets
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gdbstub.lab import monitor
from gdbstub.lab.host import Lab
from tests.bounds import HANGS

# Prints to the PL011, then PSCI SYSTEM_OFF by HVC.
OFF: Final = """\
.global _start
_start: mov x0, #0x09000000
        adr x1, text
1:      ldrb w2, [x1], #1
        cbz w2, 2f
        str w2, [x0]
        b 1b
2:      movz w0, #0x8400, lsl #16
        movk w0, #8
        hvc #0
text:   .asciz "hello from the guest\\n"
"""
LOOP: Final = ".global _start\n_start: b .\n"


def assemble(directory: Path) -> dict[str, Path]:
    """The guests ``off`` and ``loop``, as ELF files in *directory*."""
    for name, source in (("off", OFF), ("loop", LOOP)):
        (directory / f"{name}.S").write_text(source)
        argv = ["aarch64-linux-gnu-gcc", "-nostdlib", "-static", "-Wl,-Ttext=0x40080000",
                "-Wl,--build-id=none", "-o", f"{name}.elf", f"{name}.S"]  # fmt: skip
        subprocess.run(argv, cwd=directory, check=True)
    return {name: directory / f"{name}.elf" for name in ("off", "loop")}


@dataclass
class Runs:
    """Starts the program in *directory*; all that descends from it carries a mark."""

    directory: Path
    mark: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "GDBSTUB_TEST_MARK": self.mark}

    def start(
        self, *arguments: str | Path, stdout: int = subprocess.PIPE
    ) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "gdbstub", "run", *arguments],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str | Path) -> tuple[int, str, str]:
        """Run ``gdbstub``; return exit status, standard output and standard error."""
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=HANGS)
        return process.returncode, out, err

    def left(self) -> list[str]:
        """The command lines of processes that descend from a run of ours."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (place / "environ").read_bytes():
                    found.append((place / "cmdline").read_text().replace("\0", " "))
            except OSError:
                pass  # it has just ended
        return found


def in_the_lab(lab: Lab) -> tuple[str, set[monitor.Forward]]:
    """Return the lab's processes that are stubs, and the port forwards into the lab."""
    search = ["sh", "-c", "ps -o comm,args | grep '^gdbstub'"]
    running = lab.run(search, check=False).stdout.decode()
    return running, set(monitor.forwards(monitor.command(lab.directory / "qmp", "info usernet")))
