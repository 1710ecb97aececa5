"""Seconds of tasks on a Linux guest beside QEMU's stub: ``python -m bench.linux_tasks``.

Both run the same kernel on the same KVM, in one lab; GDB is on the machine outside, over the same
forwarded port. A figure is the least of three: of GDB from its start to its end, or of a guest from
its start to what is waited for. With ``--scripts``, the directory scripts/gdb of a kernel that was
built, its commands are measured, too.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from bench.linux_guests import BOOTS, FIXED, OURS, PANICS, QEMU, Guests, prepare
from gdbstub.lab import debug_symbols
from gdbstub.lab.opening import open_lab

_SECONDS: Final = 300
_TIMES: Final = 3
_FAILED: Final = re.compile(r"^Error|Undefined|Remote failure", re.MULTILINE)
_DRGN: Final = "from drgn.helpers.linux.pid import find_task; print(find_task(prog, 1).comm)\n"


class Commands(NamedTuple):
    """A task of GDB at a guest that runs: its commands there and here, and what they show.

    A command may have the number of the run, ``{run}``. None: it cannot be done there.
    """

    name: str
    symbols: Path
    theirs: Sequence[str] | None
    ours: Sequence[str]
    shown: str = ""


class Figures(dict[str, dict[str, float]]):
    """Seconds by the names of a task and of a stub; tasks whose names lack *only* are left out."""

    def __init__(self, only: str) -> None:
        super().__init__()
        self._only = only

    def least(self, name: str, stub: str, act: Callable[[int], object]) -> None:
        """Measure *act*, which gets the number of the run."""
        if self._only not in name:
            return
        best = float(_SECONDS)
        for run in range(_TIMES):
            start = time.monotonic()
            act(run)
            best = min(best, time.monotonic() - start)
        self.setdefault(name, {})[stub] = best
        print(f"{stub}: {name}: {best:.1f}", flush=True)

    def table(self) -> str:
        """Return a row for each task: QEMU's seconds, and ours."""
        rows = ""
        for name, row in self.items():
            seconds = (f"{row[stub]:.1f}" if stub in row else "–" for stub in (QEMU, OURS))
            rows += f"| {name} | {' | '.join(seconds)} |\n"
        return rows


def _gdb(port: int, symbols: Path, commands: Sequence[str], shown: str = "") -> None:
    """Run a GDB that attaches, does *commands* and detaches.

    Raises:
        RuntimeError: one of them failed, or did not show *shown*.
    """
    argv = ["gdb-multiarch", "-nx", "-batch", str(symbols)]
    for each in ("set pagination off", f"target remote localhost:{port}", *commands, "detach"):
        argv += ["-ex", each]
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS
    )
    said = done.stdout + done.stderr
    if done.returncode or _FAILED.search(said) or not re.search(shown, said):
        raise RuntimeError(f"gdb did not do {commands}:\n{said[-4000:]}")


def _commands(guests: Guests, scripts: Path | None) -> list[Commands]:
    """Return the tasks at a guest that runs."""
    own, typed = guests.files.symbols, guests.files.vmlinux
    tasks = [
        Commands("attach and detach", own, (), ()),
        Commands("attach with debug information", typed, (), ()),
        Commands("the log, without debug information", own, None, ("monitor dmesg",), "Linux ver"),
        Commands("the processes, without debug information", own, None, ("monitor ps",), "swapper"),
        Commands(
            "a process in the kernel, without debug information", own,
            None, ("monitor bt 1",), "#2 ",
        ),
        Commands(
            "a core file of 512 MiB with VMCOREINFO", own,
            ("monitor dump-guest-memory /tmp/core",), ("monitor vmcore core{run}",),
        ),
    ]  # fmt: skip
    if scripts:
        # The script looks for its package beside a built kernel's vmlinux.
        path = f"python import sys; sys.path.insert(0, {str(scripts)!r})"
        for name, command, shown in (
            ("the log by lx-dmesg", "lx-dmesg", "Linux version"),
            ("the processes by lx-ps", "lx-ps", "swapper/0"),
        ):
            lines: Sequence[str] = (path, f"source {scripts / 'vmlinux-gdb.py'}", command)
            tasks.append(Commands(name, typed, lines, lines, shown))
    return tasks


def _at_running_guests(guests: Guests, figures: Figures, tasks: Sequence[Commands]) -> None:
    for stub in (QEMU, OURS):
        with guests.running(stub, BOOTS + FIXED) as port:
            for task in tasks:
                commands = task.ours if stub == OURS else task.theirs
                if commands is not None:

                    def act(
                        run: int, task: Commands = task, lines: Sequence[str] = commands
                    ) -> None:
                        each = [line.format(run=run) for line in lines]
                        _gdb(port, task.symbols, each, task.shown)

                    figures.least(task.name, stub, act)


def _at_boots(guests: Guests, figures: Figures) -> None:
    """Measure tasks from a guest's start on."""
    own, symbols = guests.files.symbols, ("--symbols", str(guests.files.symbols))
    began = r"Breakpoint 1, \S+ in start_kernel"

    def stopped(stub: str, append: str, options: Sequence[str], lines: Sequence[str], shown: str,
                run: int) -> None:  # fmt: skip
        with guests.halted(stub, append, *options) as port:
            _gdb(port, own, lines, shown)

    def over(status: int, options: Sequence[str], run: int) -> None:
        words = [word.format(run=run) for word in options]
        process = guests.ours(PANICS + FIXED, "--free-run", *words)
        said, _ = process.communicate(timeout=_SECONDS)
        if process.returncode != status:
            raise RuntimeError(said.decode())

    def reset_there(run: int) -> None:
        process = guests.qemu(PANICS + FIXED, "-serial", "stdio", "-no-reboot")
        said, _ = process.communicate(timeout=_SECONDS)
        if process.returncode or b"Kernel panic" not in said:
            raise RuntimeError(said.decode())

    first = "break by name at the first instruction, to the stop"
    figures.least(
        f"{first}, with KASLR", OURS,
        partial(stopped, OURS, BOOTS, symbols, ("break start_kernel", "continue"), began),
    )  # fmt: skip
    for stub, options in ((QEMU, ()), (OURS, symbols)):
        lines = ("hbreak start_kernel", "continue")
        figures.least(
            f"{first}, with nokaslr",
            stub,
            partial(stopped, stub, BOOTS + FIXED, options, lines, began),
        )
    panic = "a stop where it panics, from its start on"
    figures.least(
        panic, QEMU,
        partial(stopped, QEMU, PANICS + FIXED, (), ("hbreak panic", "continue"), "in panic"),
    )  # fmt: skip
    figures.least(
        panic, OURS,
        partial(stopped, OURS, PANICS + FIXED, (*symbols, "--stop-on", "panic"), ("continue",),
                "SIGABRT"),
    )  # fmt: skip
    figures.least(
        "a core file when it panics, from its start on", OURS,
        partial(over, 100, (*symbols, "--vmcore-on", "panic", "panic{run}.zst")),
    )  # fmt: skip
    end_ = "an end at a reset, from its start on"
    figures.least(end_, QEMU, reset_there)
    figures.least(end_, OURS, partial(over, 0, ("--no-reboot",)))


def _by_drgn(guests: Guests, figures: Figures) -> None:
    """Measure drgn; QEMU's guest is outside of the lab, since drgn hands it a file."""
    name = "drgn on a guest that runs, to a value"
    script = guests.directory / "value.py"
    script.write_text(_DRGN)

    def drgn(run: int) -> None:
        argv = [sys.executable, "-m", "gdbstub", "drgn", "--qmp", "unix:qmp", "-q", "-s",
                str(guests.files.vmlinux), str(script)]  # fmt: skip
        done = subprocess.run(argv, cwd=guests.directory, capture_output=True, text=True)
        if "(char [16])" not in done.stdout:
            raise RuntimeError(done.stdout + done.stderr)

    with guests.outside():
        figures.least(name, QEMU, drgn)
    with guests.running(OURS, BOOTS, "--qmp", "unix:qmp"):
        figures.least(name, OURS, drgn)


def _symbols(guests: Guests, figures: Figures) -> None:
    """Measure what needs no guest."""
    image = guests.files.image

    def symbols(cache: str, run: int) -> None:
        subprocess.run(
            [sys.executable, "-m", "gdbstub", "symbols", str(image)], capture_output=True,
            check=True, env={**os.environ, "XDG_CACHE_HOME": cache.format(run=run)},
        )  # fmt: skip

    name = "function symbols of an Image"
    figures.least(name, OURS, partial(symbols, f"{guests.directory}/cache{{run}}"))
    figures.least(f"{name}, in the cache", OURS, partial(symbols, f"{guests.directory}/cache0"))
    figures.least(
        "the vmlinux of the kernel, in the cache", OURS,
        lambda run: debug_symbols.prepare(image.read_bytes()),
    )  # fmt: skip


def main() -> None:
    """Print a line for each figure, and then a row for each task: its name, QEMU's, and ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scripts", type=Path, help="scripts/gdb of a built kernel")
    parser.add_argument("--only", default="", help="text in the names of the tasks to measure")
    asked = parser.parse_args()
    figures = Figures(asked.only)
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        files = prepare(directory)
        with open_lab() as lab:
            guests = Guests(lab, files, directory)
            _symbols(guests, figures)
            _at_boots(guests, figures)
            _by_drgn(guests, figures)
            _at_running_guests(guests, figures, _commands(guests, asked.scripts))
    print(figures.table(), end="")


if __name__ == "__main__":
    main()
