"""Sweeps on a Dask cluster of this machine, whose workers and scheduler are killed."""

import contextlib
import logging
import os
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path

import pytest

from gdbstub.errors import InputError, SweepError
from gdbstub.sweep import cluster as engine
from gdbstub.sweep.outcome import Status
from gdbstub.sweep.store import Store
from tests.bounds import HANGS
from tests.sweep.conftest import Sweeps
from tests.sweep.dask_cluster import Cluster, hiding, running
from tests.sweep.killing import SCRIPT, check, killing, wait_for_rows


@pytest.fixture(scope="module")
def cluster(hidden: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A worker that sees the files of the sweeps, and one that does not."""
    with running(tmp_path_factory.mktemp("dask"), [(), hiding(hidden)]) as found:
        yield found


@pytest.fixture
def sweeps(hidden_sweeps: Sweeps) -> Sweeps:
    return hidden_sweeps


def test_workers_that_are_killed(sweeps: Sweeps, cluster: Cluster, long: bool) -> None:
    """All at once, and in long runs one at random each few seconds."""
    number = 300 if long else 12
    words = ("guest", f"--runs={number}", cluster.on)
    with sweeps.start(*words, "--script", f"sleep 0.3; {SCRIPT}") as process:
        wait_for_rows(sweeps, 2)
        for worker in cluster.workers():
            os.kill(worker, signal.SIGKILL)
        with killing(cluster.workers, 10) if long else nullcontext():
            _, err = process.communicate(timeout=240)
    assert process.returncode == 1, err
    assert f"gdbstub: 1 worker does not see {sweeps.out}: guests and results are carried" in err
    if any(outcome.status is Status.ERROR for outcome in sweeps.outcomes()):
        sweeps.call("resume", status=1)
    check(sweeps, number)


def test_no_scheduler(sweeps: Sweeps) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    _, err = sweeps.call("guest", f"--on=dask://127.0.0.1:{port}", "--script", "true", status=2)
    (line,) = err.splitlines()
    assert line.startswith(f"gdbstub: --on dask://127.0.0.1:{port}: no scheduler answers there")
    assert line.endswith("start one by dask scheduler")
    assert not sweeps.out.exists()


ANOTHER = "it speaks another protocol"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "after 0.5 s"),
        (b"HTTP/1.0 400 Bad Request\r\n\r\n", ANOTHER),
        (bytes(64), ANOTHER),
        (b"\xff" * 64, ANOTHER),
        (struct.pack("<QQ", 8, 0), ANOTHER),  # no frames
        (struct.pack("<QQQ", 20, 1, 500) + b"half", ANOTHER),  # shorter than its head says
        (struct.pack("<QQQB", 17, 1, 1, 0xC1), ANOTHER),  # no msgpack, which Dask logs
    ],
    ids=["nothing", "HTTP", "zeroes", "ones", "empty", "short", "garbled"],
)
def test_a_server_that_is_no_scheduler(
    sweeps: Sweeps, answer: bytes, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Schedulers: one says nothing, and one speaks another protocol."""
    monkeypatch.setattr(engine, "_CONNECT_SECONDS", 0.5)
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
                    engine.DaskEngine(f"dask://127.0.0.1:{port}", sweeps.directory)
            finally:
                server.shutdown(socket.SHUT_RDWR)
                thread.join()
    assert not logging.getLogger("distributed.protocol.core").isEnabledFor(logging.CRITICAL)
    assert str(caught.value) == (
        f"--on dask://127.0.0.1:{port}: no scheduler answers there ({why}); start one by "
        "dask scheduler"
    )


def test_tls_without_a_certificate(sweeps: Sweeps, cluster: Cluster) -> None:
    sweeps.environment["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] = "True"
    _, err = sweeps.call("guest", cluster.on, "--script=true", status=2)
    (line,) = err.splitlines()
    assert "no scheduler answers there (TLS expects a `ssl_context`" in line
    assert "perhaps check your TLS configuration?" in line


def test_a_scheduler_that_answers_no_more(
    sweeps: Sweeps, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler is stopped, as on a host that hangs; its connections are there."""
    monkeypatch.setattr(engine, "_ANSWER_SECONDS", 0.5)
    with closing(
        engine.DaskEngine(cluster.on.removeprefix("--on="), sweeps.directory)
    ) as connected:
        assert connected.width() == 4
        cluster.scheduler.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(SweepError, match=r"Dask's scheduler has not answered for 0\.5 s"):
                connected.width()
        finally:
            cluster.scheduler.send_signal(signal.SIGCONT)


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
