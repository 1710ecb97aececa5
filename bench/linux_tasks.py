"""Seconds of tasks on a Linux guest beside QEMU's stub: ``python -m bench.linux_tasks``.

Both run the same kernel on the same KVM, in one lab; GDB is on the machine outside, over the same
forwarded port. A figure is the least of three, from GDB's start to its end. With ``--scripts``,
the directory scripts/gdb of a kernel that was built, its commands are measured, too.
"""

import argparse
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gdbstub.lab import debug_symbols, demo, vmm
from gdbstub.lab.host import Lab
from gdbstub.lab.opening import open_lab

PORT: Final = 1234
_SECONDS: Final = 300
_TIMES: Final = 3
_APPEND: Final = "console=ttyAMA0 nokaslr quiet"


def _gdb(port: int, symbols: Path, commands: Sequence[str]) -> float:
    """Measure the seconds of a GDB that attaches, does *commands* and detaches."""
    argv = ["gdb-multiarch", "-nx", "-batch", str(symbols)]
    for each in ("set pagination off", f"target remote localhost:{port}", *commands, "detach"):
        argv += ["-ex", each]
    best = float(_SECONDS)
    for _ in range(_TIMES):
        start = time.monotonic()
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS
        )
        if done.returncode or "Error" in done.stderr or "Undefined" in done.stderr:
            raise RuntimeError(f"gdb did not do {commands}:\n{done.stdout}{done.stderr}")
        best = min(best, time.monotonic() - start)
    return best


@contextmanager
def _serving(lab: Lab, argv: Sequence[str]) -> Iterator[int]:
    """Start a stub whose guest boots; the port that is forwarded to it, once init runs."""
    pipe = subprocess.PIPE
    with lab.popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT) as process:
        port = lab.forward(PORT)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if demo.INIT_LINE.encode() in line:
                    yield port
                    return
            raise RuntimeError(f"{argv[0]} ended before the guest's init")
        finally:
            lab.unforward(port)
            process.terminate()
            process.stdin and process.stdin.close()


def main() -> None:
    """Print a line for each task: its name, QEMU's seconds and ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scripts", type=Path, help="scripts/gdb of a built kernel")
    scripts: Path | None = parser.parse_args().scripts
    guest = demo.prepare()
    start = time.monotonic()
    vmlinux = debug_symbols.prepare(guest.image.read_bytes())
    print(f"vmlinux with debug information: {time.monotonic() - start:.1f} s", flush=True)
    tasks: list[tuple[str, Path, Sequence[str], bool]] = [
        ("attach and detach", guest.symbols, (), True),
        ("the log, without debug information", guest.symbols, ("monitor dmesg",), False),
        ("the processes, without debug information", guest.symbols, ("monitor ps",), False),
    ]
    if scripts:
        # The script looks for its package beside a built kernel's vmlinux.
        path = f"python import sys; sys.path.insert(0, {str(scripts)!r})"
        source = f"source {scripts / 'vmlinux-gdb.py'}"
        tasks += [
            ("attach with debug information", vmlinux, (path, source), True),
            ("the log by lx-dmesg", vmlinux, (path, source, "lx-dmesg"), True),
            ("the processes by lx-ps", vmlinux, (path, source, "lx-ps"), True),
        ]
    with open_lab() as lab:
        vmm.install(lab, vmm.prepare())
        image, initrd = lab.put(guest.image), lab.put(guest.initrd)
        qemu = [
            *("chroot", vmm.ROOT, vmm.PROGRAM, "-M", "virt,gic-version=host", "-accel", "kvm"),
            *("-cpu", "host", "-smp", "1", "-m", "512", "-nodefaults", "-display", "none"),
            *("-serial", "stdio", "-kernel", image, "-initrd", initrd, "-append", _APPEND),
            *("-gdb", f"tcp::{PORT}"),
        ]
        ours = [
            *("gdbstub", "run", image, "--initrd", initrd, "--append", _APPEND, "--host=kvm"),
            *("--memory=512M", "--inner", "--free-run", f"--gdb=0.0.0.0:{PORT}"),
        ]
        figures: dict[str, list[str]] = {name: [] for name, *_ in tasks}
        for stub, argv in (("QEMU", qemu), ("gdbstub", ours)):
            with _serving(lab, argv) as port:
                for name, symbols, commands, both in tasks:
                    measured = both or argv is ours
                    seconds = f"{_gdb(port, symbols, commands):.1f}" if measured else "-"
                    figures[name].append(seconds)
                    print(f"{stub}: {name}: {seconds}", flush=True)
    for name, row in figures.items():
        print(f"| {name} | {' | '.join(row)} |")


if __name__ == "__main__":
    main()
