"""The lines that say where a session in the lab listens, and a Ctrl-C of who reads them."""

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any, Self

import pytest

from gdbstub.cli.in_lab import run
from gdbstub.cli.settings.serve import ServeSettings
from gdbstub.lab.port_forwards import StdioForward
from gdbstub.lab.remote_run import RunRequest
from gdbstub.protocol.endpoint import Tcp
from gdbstub.signals import STOP_SIGNALS
from tests.bounds import HANGS


class Remote:
    """The stub in the lab, which listens at once and runs until it is told to end."""

    lab_running = True
    status = None

    def __init__(self, _request: RunRequest, on_listening: Any) -> None:  # noqa: ANN401
        self._ended = threading.Event()
        on_listening("localhost:1", 1)

    def wait(self) -> int:
        assert self._ended.wait(HANGS)
        return 0

    def close(self) -> None:
        self._ended.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Handlers of signals, as they were: a session that one has ended ignores later ones."""
    before = {each: signal.getsignal(each) for each in STOP_SIGNALS}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


def test_ctrl_c_within_the_announcement_repeats_none_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = []

    def announce(endpoint: str, *_: str, **_more: object) -> None:
        said.append(endpoint)
        os.kill(os.getpid(), signal.SIGINT)
        said.append("to its end")

    monkeypatch.setattr(run, "RemoteRun", Remote)
    monkeypatch.setattr(run, "announce", announce)
    status = run.serve_request(RunRequest([], StdioForward()), ServeSettings(Tcp("localhost", 0)))
    assert (status, said) == (130, ["localhost:1", "to its end"])
