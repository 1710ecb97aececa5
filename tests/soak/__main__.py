"""``make soak``: random programs with fresh seeds until the time is up.

The fake machine and KVM are tried side by side, KVM in the lab where this machine has none. The
exit status is 1 if there was a finding; it is printed with its seed and the smallest program.
"""

import argparse
import secrets
import sys
import time
from contextlib import ExitStack
from typing import Final

from gdbstub.lab.opening import open_lab
from tests.contract.backends import BACKENDS, NATIVE_KVM, Backend
from tests.soak.case import Case, draw
from tests.soak.check import check, fitting
from tests.soak.drive import Finding
from tests.soak.listing import listing
from tests.soak.shrink import shrink

#: Seconds between two lines of progress.
_PROGRESS: Final = 15
_BACKENDS: Final = {each.name: each for each in BACKENDS if each.name in ("fake", "kvm")}


def fault(case: Case, backend: Backend) -> str | None:
    """Return the fault that the case shows, or None."""
    try:
        check(case, backend)
    except Finding as finding:
        return str(finding)
    except Exception as error:  # the debugger's own: a finding, too
        return f"{type(error).__name__}: {error}"
    return None


def soak(backend: Backend, minutes: float, seed: int, count: int) -> int:
    """Try one seed after another; the number of findings."""
    end = time.monotonic() + 60 * minutes
    said, tried, found = time.monotonic(), 0, 0
    while time.monotonic() < end and tried != count:
        case = fitting(draw(seed), backend)
        if (wrong := fault(case, backend)) is not None:
            found += 1
            print(f"{backend.name}: seed {seed}: {wrong}", flush=True)
            _say_smallest(case, backend, wrong)
        seed, tried = seed + 1, tried + 1
        if time.monotonic() - said > _PROGRESS:
            said = time.monotonic()
            print(f"{backend.name}: {tried} programs, {found} findings", flush=True)
    print(f"{backend.name}: {tried} programs, {found} findings: done", flush=True)
    return found


def _say_smallest(case: Case, backend: Backend, wrong: str) -> None:
    way = wrong.partition(":")[0]

    def fails(smaller: Case) -> bool:
        now = fault(smaller, backend)
        return now is not None and now.startswith(way)

    smallest = shrink(case, fails)
    print(f"{backend.name}: smallest: {fault(smallest, backend)}\n{listing(smallest)}", flush=True)


def main(argv: list[str]) -> int:
    """Soak as the command line says; 1 if anything was found."""
    parser = argparse.ArgumentParser("python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--on", choices=_BACKENDS, help="one kind of machine; both unless given")
    parser.add_argument("--seed", type=int, default=secrets.randbits(40), help="the first seed")
    parser.add_argument("--count", type=int, default=-1, help="no more programs than this")
    options = parser.parse_args(argv)
    wanted = [options.on] if options.on else list(_BACKENDS)
    arguments = [f"--minutes={options.minutes}", f"--seed={options.seed}"]
    arguments.append(f"--count={options.count}")
    status = 0
    with ExitStack() as stack:
        beside = None
        if "kvm" in wanted and not NATIVE_KVM:
            wanted.remove("kvm")
            print("kvm: in the lab", flush=True)
            from tests.inlab.runner import start_module  # not there, but here

            lab = stack.enter_context(open_lab())
            beside = start_module(lab, "tests.soak", ["--on=kvm", *arguments])
        for name in wanted:
            minutes = options.minutes / len(wanted)
            status |= bool(soak(_BACKENDS[name], minutes, options.seed, options.count))
        if beside is not None:
            status |= bool(beside.wait())
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
