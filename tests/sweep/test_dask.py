"""Sweeps on a Dask cluster of this machine, whose workers and scheduler are killed."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import pytest

from gdbstub import __version__
from gdbstub.errors import InputError
from gdbstub.sweep import engines
from gdbstub.sweep.engines import usable
from gdbstub.sweep.outcome import Status
from gdbstub.sweep.store import Store
from tests.sweep.conftest import HANGS, Sweeps
from tests.sweep.killing import SCRIPT, check, killing, wait_for_rows

WORKERS: Final = 2
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


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    place = tmp_path_factory.mktemp("dask")
    file = place / "scheduler.json"
    with ExitStack() as stack:

        def start(*words: str) -> "subprocess.Popen[bytes]":
            log = stack.enter_context((place / f"log-{len(os.listdir(place))}").open("wb"))
            process = subprocess.Popen(
                [_DASK, *words], cwd=place, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log,
            )  # fmt: skip
            stack.callback(process.wait, HANGS)
            stack.callback(process.terminate)
            return process

        options = ("--port=0", "--no-dashboard", "--host=127.0.0.1", f"--scheduler-file={file}")
        scheduler = start("scheduler", *options)
        deadline = time.monotonic() + HANGS
        address = ""
        while not address:
            assert scheduler.poll() is None
            assert time.monotonic() < deadline
            with contextlib.suppress(FileNotFoundError, ValueError):
                address = json.loads(file.read_text())["address"]
            os.sched_yield()
        worker = ("worker", address, "--nthreads=1", "--no-dashboard", "--host=127.0.0.1")
        nannies = [start(*worker) for _ in range(WORKERS)]
        subprocess.run([sys.executable, "-c", _WAIT, address, str(WORKERS)], check=True)
        yield Cluster(address.removeprefix("tcp://"), scheduler, nannies)


def test_workers_that_are_killed_at_random(sweeps: Sweeps, cluster: Cluster, long: bool) -> None:
    number = 300 if long else 20
    words = ("guest", f"--runs={number}", cluster.on)
    with sweeps.start(*words, "--script", f"sleep 0.3; {SCRIPT}") as process:
        wait_for_rows(sweeps, 2)
        with killing(cluster.workers, 10 if long else 2) as killed:
            _, err = process.communicate(timeout=240)
    assert process.returncode == 1, err
    assert killed
    if any(outcome.status is Status.ERROR for outcome in sweeps.outcomes()):
        sweeps.call("resume", status=1)
    check(sweeps, number)


def test_a_worker_that_does_not_see_the_files(tmp_path: Path) -> None:
    assert usable(tmp_path) == __version__
    assert usable(tmp_path / "absent").startswith(f"it does not see {tmp_path}/absent; the sweep")


def test_no_scheduler(sweeps: Sweeps) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    _, err = sweeps.call("guest", f"--on=dask://127.0.0.1:{port}", "--script", "true", status=2)
    (line,) = err.splitlines()
    assert line.startswith(f"gdbstub: --on dask://127.0.0.1:{port}: no scheduler answers there")
    assert line.endswith("start one by dask scheduler")
    assert not sweeps.out.exists()


@pytest.mark.parametrize(
    ("answer", "why"),
    [(b"", "after 0.5 s"), (b"HTTP/1.0 400 Bad Request\r\n\r\n", "it speaks another protocol")],
)
def test_a_server_that_is_no_scheduler(
    sweeps: Sweeps, answer: bytes, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that says nothing, and one that speaks another protocol."""
    monkeypatch.setattr(engines, "_CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            with contextlib.suppress(OSError):  # the server is closed
                while True:
                    client = server.accept()[0]
                    clients.enter_context(client)
                    client.sendall(answer)

        with ExitStack() as clients:
            thread = threading.Thread(target=serve)
            thread.start()
            try:
                with pytest.raises(InputError) as caught:
                    engines.DaskEngine(f"dask://127.0.0.1:{port}", sweeps.directory)
            finally:
                server.shutdown(socket.SHUT_RDWR)
                thread.join()
    assert str(caught.value) == (
        f"--on dask://127.0.0.1:{port}: no scheduler answers there ({why}); start one by "
        "dask scheduler"
    )


def test_a_scheduler_that_is_killed(sweeps: Sweeps, cluster: Cluster) -> None:
    """The last test here, since the cluster is gone then."""
    words = ("guest", "--runs=40", cluster.on)
    with sweeps.start(*words, "--script", f"sleep 0.1; {SCRIPT}") as process:
        wait_for_rows(sweeps, 5)
        cluster.scheduler.kill()
        _, err = process.communicate(timeout=HANGS)
    assert process.returncode == 2
    assert f"gdbstub sweep resume {sweeps.out} goes on" in err
    assert "Traceback" not in err
    with Store.read(sweeps.out) as store:
        assert 5 <= sum(store.counts().values()) < 40
    sweeps.call("resume", status=1)  # here, without a cluster
    check(sweeps, 40)
