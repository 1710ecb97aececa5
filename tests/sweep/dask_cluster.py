"""A Dask cluster of this machine: a scheduler, and workers that see all files or not."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from tests.bounds import HANGS

_DASK: Final = str(Path(sys.executable).with_name("dask"))
_WAIT: Final = """
import sys
from distributed import Client
with Client(sys.argv[1], timeout=60) as client:
    client.wait_for_workers(int(sys.argv[2]), 60)
"""


@dataclass
class Cluster:
    """A scheduler, and workers that a nanny starts again."""

    address: str
    scheduler: "subprocess.Popen[bytes]"
    nannies: "list[subprocess.Popen[bytes]]"

    @property
    def on(self) -> str:
        return f"--on=dask://{self.address}"

    def workers(self) -> Iterator[int]:
        """The processes that execute runs."""
        for nanny in self.nannies:
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(nanny.pid).children():
                    if any("spawn_main" in word for word in child.cmdline()):
                        yield child.pid


def hiding(directory: Path) -> list[str]:
    """Return the words before a program for which *directory* is empty, as on another host."""
    script = 'mount -t tmpfs none "$0" && exec "$@"'
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, str(directory)]


@contextlib.contextmanager
def running(place: Path, workers: Sequence[Sequence[str]], *more: str) -> Iterator[Cluster]:
    """Run a cluster in *place*.

    Each of *workers* is the words before its program, and *more* are options of all.
    """
    file = place / "scheduler.json"
    with ExitStack() as stack:

        def start(*words: str) -> "subprocess.Popen[bytes]":
            log = stack.enter_context((place / f"log-{len(os.listdir(place))}").open("wb"))
            process = subprocess.Popen(
                words, cwd=place, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            stack.callback(process.wait, HANGS)
            stack.callback(process.terminate)
            return process

        options = ("--port=0", "--no-dashboard", "--host=127.0.0.1", f"--scheduler-file={file}")
        scheduler = start(_DASK, "scheduler", *options)
        deadline = time.monotonic() + HANGS
        address = ""
        while not address:
            assert scheduler.poll() is None
            assert time.monotonic() < deadline
            with contextlib.suppress(FileNotFoundError, ValueError):
                address = json.loads(file.read_text())["address"]
            os.sched_yield()
        shared = (address, "--nthreads=1", "--no-dashboard", "--host=127.0.0.1", *more)
        nannies = [start(*before, _DASK, "worker", *shared) for before in workers]
        subprocess.run([sys.executable, "-c", _WAIT, address, str(len(workers))], check=True)
        yield Cluster(address.removeprefix("tcp://"), scheduler, nannies)
