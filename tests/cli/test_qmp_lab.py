"""``--qmp`` over a stub in the lab, which may be a guest's by now: bounded answers."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from gdbstub.cli.in_lab import qmp as qmp_lab
from gdbstub.cli.in_lab.qmp import LabGuest
from gdbstub.errors import LabError, NotFound

HELLO = b'{"QMP": {}}\n{"return": {}}\n'


def answer(value: object) -> bytes:
    return json.dumps({"return": value}).encode() + b"\n"


@contextmanager
def stub(path: Path, said: bytes, again: bytes = b"") -> Iterator[None]:
    """Serve one client: say *said*, and then *again* and again until it leaves."""

    def serve() -> None:
        with listener.accept()[0] as client, suppress(ConnectionError):
            client.sendall(said)
            while again:
                client.sendall(again)
            while client.recv(1000):
                pass

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield
    thread.join()


ASKS: list[Callable[[LabGuest], object]] = [
    lambda guest: guest.ram,
    lambda guest: guest.running,
    lambda guest: guest.read(0x4000_0000, 16),
    lambda guest: guest.vmcoreinfo(),
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("ask", ASKS, ids=["ram", "running", "read", "vmcoreinfo"])
@pytest.mark.parametrize(
    ("said", "again"),
    [
        (b"", b""),
        (b"SSH-2.0\n", b""),
        (HELLO + b"[" * 100_000 + b"\n", b""),
        (HELLO, b"x" * 65536),
        (HELLO, b'{"event": 1}\n'),
        (HELLO + b"[]\n", b""),
        (HELLO + b'{"return": ' + b"1" * 5000 + b"}\n", b""),
        (HELLO + b"\xff\n", b""),
    ],
)
def test_nonsense_is_one_line_in_bounded_time(
    ask: Callable[[LabGuest], object],
    said: bytes,
    again: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(qmp_lab, "_ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(qmp_lab, "_LAB_SECONDS", 0.1)
    with stub(tmp_path / "qmp", said, again), closing(LabGuest(tmp_path / "qmp")) as guest:
        with pytest.raises(LabError, match="the stub in the lab does not answer: ") as caught:
            ask(guest)
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [5, None, "x", [5], [["a", "b"]], [[1, 2, 0]], {"a": 1}])
def test_answers_of_other_types_are_one_line(value: object, tmp_path: Path) -> None:
    with (
        stub(tmp_path / "qmp", HELLO + answer(value)),
        closing(LabGuest(tmp_path / "qmp")) as guest,
        pytest.raises(LabError, match="the stub in the lab does not answer: "),
    ):
        guest.ram  # noqa: B018


def test_a_page_is_no_longer_than_a_page(tmp_path: Path) -> None:
    said = HELLO + answer([[0, 0x2000]]) + answer("QUFB" * 8000)
    with stub(tmp_path / "qmp", said), closing(LabGuest(tmp_path / "qmp")) as guest:
        assert guest.read(0, 16) == b"A" * 16
        assert len(guest._page(0)) == 4096


def test_an_error_is_what_the_stub_says(tmp_path: Path) -> None:
    said = HELLO + b'{"error": {"class": "GenericError", "desc": "no kernel yet"}}\n'
    with (
        stub(tmp_path / "qmp", said),
        closing(LabGuest(tmp_path / "qmp")) as guest,
        pytest.raises(NotFound, match="no kernel yet"),
    ):
        guest.ram  # noqa: B018
