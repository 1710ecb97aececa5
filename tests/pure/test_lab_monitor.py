"""Whatever the other end of QEMU's monitor says, or does not say, is one error of one line."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gdbstub.errors import LabError
from gdbstub.lab import monitor

GREETING = b"""{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, \
"package": ""}, "capabilities": []}}\r\n"""


@contextmanager
def qemu(directory: Path, *lines: bytes, silent: bool = False) -> Iterator[Path]:
    """Listen as QEMU does: one of *lines* at once, and one for each request; then close."""
    place = directory / "qmp"
    loop = asyncio.new_event_loop()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number, line in enumerate(lines):
            if number:
                await reader.readline()
            writer.write(line)
        if silent:
            await reader.read()
        writer.close()

    server = loop.run_until_complete(asyncio.start_unix_server(answer, place))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield place
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


@pytest.mark.parametrize("greeting", [b"", b"{}\r\n", b"[\r\n", b'{"QMP": 1}\r\n', b"\xff\r\n"])
def test_a_greeting_that_is_none(tmp_path: Path, greeting: bytes) -> None:
    """``tests/fuzz/corpus/qmp.txt`` has later replies that are none."""
    with qemu(tmp_path, greeting) as place, pytest.raises(LabError) as error:
        monitor.command(place, "info usernet")
    text = str(error.value)
    assert text.startswith(f"the lab's QEMU does not answer at {place}: ")
    assert "\n" not in text


@pytest.mark.parametrize("lines", [(), (GREETING,), (GREETING, b'{"return": {}, "id": "x"}\r\n')])
def test_a_monitor_that_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: tuple[bytes, ...]
) -> None:
    monkeypatch.setattr(monitor, "TIMEOUT", 0.2)
    with (
        qemu(tmp_path, *lines, silent=True) as place,
        pytest.raises(LabError, match=r"does not answer at .*/qmp: it is silent for 0\.2 s"),
    ):
        monitor.command(place, "info usernet")


def test_the_end_of_a_forward_waits_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that ends waits for it, and a stopped QEMU does not answer."""
    monkeypatch.setattr(monitor, "REMOVE_TIMEOUT", 0.2)
    with (
        qemu(tmp_path, silent=True) as place,
        pytest.raises(LabError, match=r"does not answer at .*/qmp: it is silent for 0\.2 s"),
    ):
        monitor.remove(place, "127.0.0.1", 1234)


def test_a_table_with_figures_that_are_no_ports() -> None:
    row = "  TCP[HOST_FORWARD]  19  127.0.0.1 {}  10.0.2.15 22 0 0\n"
    assert monitor.forwards(row.format("9" * 5000)) == []


def test_a_forward_that_is_not_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(_client: object, _line: str) -> str:
        return ""

    def converse(_socket: Path, work: Callable[[object], Coroutine[None, None, int]]) -> int:
        return asyncio.run(work(None))

    monkeypatch.setattr(monitor, "human", silent)
    monkeypatch.setattr(monitor, "converse", converse)
    with pytest.raises(LabError, match=r"^cannot listen on 127\.0\.0\.1:0: QEMU lists no forward"):
        monitor.add(tmp_path, "127.0.0.1", 0, 22)
