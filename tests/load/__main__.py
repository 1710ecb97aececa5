"""``make load``: the long runs, on each kind of machine, and a Linux guest that computes.

KVM is the lab's where this machine has none. The exit status is 1 if anything was lost, or grew.
"""

import argparse
import os
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from gdbstub.lab.host import VARIABLE
from gdbstub.lab.opening import open_lab
from gdbstub.machine import Machine
from tests.contract.backends import BACKENDS, NATIVE_KVM, Backend
from tests.load import foreign, runs

_USUAL: Final = {"rounds": 10_000, "steps": 1_000_000, "hits": 100_000, "breakpoints": 1_000}
#: By kind of machine.
_COUNTS: Final = {
    "fake": _USUAL,
    "kvm": _USUAL,
    "foreign": {"rounds": 1_000, "attachments": 1_000, "kills": 300},
}
_NAMES: Final = tuple(dict.fromkeys(name for counts in _COUNTS.values() for name in counts))
_BACKENDS: Final = {each.name: each for each in BACKENDS if each.name in _COUNTS}
_LINUX: Final = "linux"
#: Of one Linux guest: things that the client does, and links of each chain of digests.
_TURNS, _LINKS = 60, 6


def _runs(make: runs.Make, directory: Path) -> dict[str, Callable[[int], runs.Figures]]:
    return {
        "rounds": lambda count: runs.rounds(make, count, directory),
        "steps": lambda count: runs.steps(make, count),
        "hits": lambda count: runs.hits(make, count),
        "breakpoints": lambda count: runs.breakpoints(make, count),
        "attachments": foreign.attachments,
        "kills": foreign.kills,
    }


def load(backend: Backend, names: list[str], share: float) -> int:
    """Do the runs *names*; return the number of those that failed."""
    factory, counts = backend.load(), _COUNTS[backend.name]

    def make(program: bytes, vcpus: int) -> Machine:
        return factory(program, vcpus=vcpus)

    failed = 0
    with tempfile.TemporaryDirectory() as directory:
        for name, run in _runs(make, Path(directory)).items():
            if name not in names or name not in counts:
                continue
            count, start = max(10, int(counts[name] * share)), time.monotonic()
            try:
                # Unicorn keeps what it has translated: its memory is not the debugger's.
                figures = run(count).check(memory=backend.name != "fake")
                print(f"{backend.name}: {figures}", end="", flush=True)
            except AssertionError as error:
                failed += 1
                print(f"{backend.name}: {name} of {count:,}: FAILED: {error}", end="")
            print(f" ({time.monotonic() - start:.0f} s)", flush=True)
    return failed


def debug_linux(minutes: float, seed: int) -> int:
    """Debug one Linux guest after another until the time is up; return those that failed."""
    from gdbstub.lab import demo  # these are not in the lab
    from tests.kvm import user_space
    from tests.kvm.conftest import Built
    from tests.load import linux

    end, guests, failed, done = time.monotonic() + 60 * minutes, 0, 0, Counter[str]()
    with tempfile.TemporaryDirectory() as directory:
        initrd, kernel = user_space.build(Path(directory)), Built(demo.prepare().symbols)
        while time.monotonic() < end:
            try:
                done += linux.debug(initrd, kernel, seed, _TURNS, _LINKS).done
            except AssertionError as error:
                failed += 1
                print(f"linux: seed {seed}: FAILED: {error}", flush=True)
            seed, guests = seed + 1, guests + 1
            print(f"linux: {guests} guests, {failed} failed: {dict(done)}", flush=True)
    return failed


def main(argv: list[str]) -> int:
    """Do what the command line says; 1 if anything failed."""
    parser = argparse.ArgumentParser("python -m tests.load", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the numbers of each run")
    parser.add_argument("--minutes", type=float, default=120, help="of Linux guests")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="of the first guest")
    parser.add_argument("--on", choices=_BACKENDS, help="one kind of machine; all unless given")
    parser.add_argument(
        "names", nargs="*", metavar="RUN", help=f"{', '.join(_NAMES)}, linux; all unless given"
    )
    options = parser.parse_args(argv)
    names = options.names or [*_NAMES, _LINUX]
    if unknown := [name for name in names if name not in (*_NAMES, _LINUX)]:
        parser.error(f"{unknown[0]} is no run; expected {', '.join(_NAMES)} or linux")
    failed = 0
    kinds = [options.on] if options.on else list(_COUNTS)
    with ExitStack() as stack:
        if kinds != ["fake"] and not NATIVE_KVM:
            lab = stack.enter_context(open_lab())
            os.environ[VARIABLE] = str(lab.directory)
        for kind in kinds:
            if kind == "fake" or NATIVE_KVM:
                failed += load(_BACKENDS[kind], names, options.share)
            elif set(names) & set(_COUNTS[kind]):
                from tests.inlab.runner import start_module

                there = [name for name in names if name != _LINUX]
                arguments = [f"--share={options.share}", f"--on={kind}", *there]
                failed += start_module(lab, "tests.load", arguments).wait()
        if "kvm" in kinds and _LINUX in names:
            failed += debug_linux(options.minutes, options.seed)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
