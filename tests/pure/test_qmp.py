"""QMP, as drgn and tools like it speak it: commands, files, and what is no QMP."""

import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment
from hypothesis import given
from hypothesis import strategies as st

from gdbstub.errors import MemoryFault, NotFound
from gdbstub.linux.qmp import QmpSession

RAM = range(0x4000_0000, 0x4000_1000)
DATA = bytes(range(256)) * 16
INFO = b"OSRELEASE=6.1.0\nPAGESIZE=4096\n"


class Guest:
    def __init__(self) -> None:
        self.ram: Sequence[range] = (RAM,)
        self.running = True
        self.info: bytes | None = INFO
        self.hva: Callable[[int], int | None] = lambda ipa: 0x7000_0000 + ipa - RAM.start

    def read(self, ipa: int, length: int) -> bytes:
        if ipa not in RAM:
            raise MemoryFault(f"no RAM at {ipa:#x}")
        return DATA[ipa - RAM.start :][:length]

    def vmcoreinfo(self) -> bytes:
        if self.info is None:
            raise NotFound("it is not in RAM")
        return self.info


@pytest.fixture
def session() -> Iterator[QmpSession]:
    made = QmpSession(Guest())
    yield made
    made.close()


def tell(session: QmpSession, line: bytes, fds: Sequence[int] = ()) -> Any:  # noqa: ANN401 - as JSON has it
    session.receive(line + b"\r\n", fds)
    reply = session.advance()
    assert reply is not None
    assert reply.endswith(b"\r\n")
    assert session.advance() is None
    return json.loads(reply, parse_constant=_no_number)


def _no_number(text: str) -> None:
    raise AssertionError(f"{text} is no JSON")


def ask(session: QmpSession, name: str, **arguments: object) -> Any:  # noqa: ANN401
    named = {key.replace("_", "-"): value for key, value in arguments.items()}
    reply = tell(session, json.dumps({"execute": name, "arguments": named}).encode())
    return reply.get("return", reply)


@pytest.fixture
def ready(session: QmpSession) -> QmpSession:
    assert ask(session, "qmp_capabilities") == {}
    return session


def human(session: QmpSession, line: str) -> str:
    said: str = ask(session, "human-monitor-command", command_line=line)
    return said


def test_the_greeting_and_the_negotiation(session: QmpSession) -> None:
    greeting = json.loads(session.greeting)
    assert greeting["QMP"]["capabilities"] == []
    assert ask(session, "query-target")["error"] == {
        "class": "CommandNotFound",
        "desc": "Expecting capabilities negotiation with 'qmp_capabilities'",
    }
    assert tell(session, b'{"execute": "qmp_capabilities", "id": [1, "x"]}') == {
        "id": [1, "x"],
        "return": {},
    }
    assert ask(session, "query-target") == {"arch": "aarch64"}
    assert ask(session, "query-status") == {"running": True, "status": "running"}
    assert {"name": "dump-guest-memory"} in ask(session, "query-commands")


def test_commands_that_would_change_the_guest_are_none(ready: QmpSession) -> None:
    for name in ("stop", "cont", "system_reset", "quit", "memsave"):
        error = ask(ready, name)["error"]
        assert error["class"] == "CommandNotFound"
        assert error["desc"].startswith(f"The command {name} has not been found; those here only")
    assert human(ready, "quit now") == "unknown command: 'quit now'\n"


def test_memory_as_xp_shows_it(ready: QmpSession) -> None:
    assert human(ready, "xp /5xb 0x40000010") == "0000000040000010: 0x10 0x11 0x12 0x13 0x14\n"
    assert human(ready, "xp /2xg 0x40000000") == (
        "0000000040000000: 0x0706050403020100 0x0f0e0d0c0b0a0908\n"
    )
    assert human(ready, "xp /4xb 0x40000fff") == (
        "0000000040000fff: 0xff\n0000000040001000: Cannot access memory\n"
    )
    assert human(ready, "xp /1xb 4096") == "0000000000001000: Cannot access memory\n"
    assert human(ready, "xp /1xz 0").startswith("'/1xz' is no format")
    assert human(ready, "xp /99999999xb 0").startswith("99999999 bytes are too many")


def test_where_ram_is(ready: QmpSession) -> None:
    assert "\n  0000000040000000-0000000040000fff (prio 0, ram): ram\n" in human(
        ready, "info mtree -f"
    )
    assert human(ready, "gpa2hva 0x40000008") == (
        "Host virtual address for 0x40000008 (ram) is 0x70000008\n"
    )
    assert human(ready, "gpa2hva 0x8") == "No memory is mapped at address 0x8\n"
    ready.guest.hva = lambda ipa: None  # type: ignore[method-assign]
    assert human(ready, "gpa2hva 0x40000000") == "the guest's memory is not in this process\n"


def notes(file: io.BufferedRandom) -> dict[str, bytes]:
    file.seek(0)
    found = {}
    for segment in ELFFile(file).iter_segments("PT_NOTE"):
        assert isinstance(segment, NoteSegment)
        for note in segment.iter_notes():
            found[note["n_name"]] = note["n_descdata"]
    return found


def dump(session: QmpSession, fd: int, **more: object) -> Any:  # noqa: ANN401
    line = b'{"execute": "getfd", "arguments": {"fdname": "drgn-dump"}}'
    assert tell(session, line, [os.dup(fd)]) == {"return": {}}
    arguments = {"paging": False, "begin": RAM.start, "length": 1, **more}
    return ask(session, "dump-guest-memory", protocol="fd:drgn-dump", **arguments)


def test_the_note_that_drgn_asks_for(ready: QmpSession) -> None:
    with tempfile.TemporaryFile() as file:
        assert dump(ready, file.fileno()) == {}
        assert notes(file) == {"VMCOREINFO": INFO}
        assert ask(ready, "closefd", fdname="drgn-dump")["error"]["desc"] == (
            "File descriptor named so has not been found"
        )
    guest = ready.guest
    assert isinstance(guest, Guest)
    guest.info = None
    with tempfile.TemporaryFile() as file:
        assert dump(ready, file.fileno()) == {}
        assert notes(file) == {}


def test_a_file_that_could_block_is_not_written(ready: QmpSession) -> None:
    reading, writing = os.pipe()
    try:
        assert "no regular one" in dump(ready, writing)["error"]["desc"]
    finally:
        os.close(reading)
        os.close(writing)


def test_a_file_that_cannot_be_written_is_said_in_words(ready: QmpSession) -> None:
    with tempfile.NamedTemporaryFile() as file, open(file.name, "rb") as readable:
        desc = dump(ready, readable.fileno())["error"]["desc"]
    assert desc == "Bad file descriptor"


def test_whole_dumps_are_the_monitor_s(ready: QmpSession) -> None:
    with tempfile.TemporaryFile() as file:
        assert (
            "only the notes are dumped" in dump(ready, file.fileno(), paging=True)["error"]["desc"]
        )


def test_files_of_a_client_are_few_and_are_closed(ready: QmpSession) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with tempfile.TemporaryFile() as file:
        for index in range(20):
            line = b'{"execute": "getfd", "arguments": {"fdname": "f%d"}}' % index
            tell(ready, line, [os.dup(file.fileno())])
        ready.receive(b"", [os.dup(file.fileno()) for _ in range(50)])
        assert len(os.listdir("/proc/self/fd")) <= before + 9
        ready.close()
        assert len(os.listdir("/proc/self/fd")) == before + 1


@pytest.mark.parametrize(
    "line",
    [
        b"not json", b"[]", b"3", b'{"execute": 3}', b'{"execute": "query-target", "arguments": 1}',
        b"[" * 50_000, b"\xff\xfe", b'{"execute": "human-monitor-command", "arguments": {}}',
        b'{"execute": "x-read-memory", "arguments": {"begin": 0, "length": 1000000}}',
        b'{"execute": "getfd", "arguments": {"fdname": "1"}}',
        b'{"execute": "getfd", "arguments": {"fdname": "x"}}', b"1" * 9_999,
        b'{"execute": "query-target", "id": NaN}', b'{"execute": "query-target", "id": 1e999}',
        b'{"execute": "query-target", "arguments": {"x": -Infinity}}',
    ],
    ids=range(15),
)  # fmt: skip
def test_what_is_refused(ready: QmpSession, line: bytes) -> None:
    assert tell(ready, line)["error"]["class"] == "GenericError"
    assert not ready.over
    assert ask(ready, "query-target") == {"arch": "aarch64"}


def test_a_deep_id_is_returned_or_refused(ready: QmpSession) -> None:
    """The depth that can be parsed and written depends on the version of Python."""
    deep = b"[" * 5_000 + b"]" * 5_000
    ready.receive(b'{"execute": "qmp_capabilities", "id": ' + deep + b"}\n")
    out = ready.advance() or b""
    assert deep in out or b"GenericError" in out
    assert not ready.over
    assert ask(ready, "query-target") == {"arch": "aarch64"}


@pytest.mark.parametrize("cut", [1, 1000])
@pytest.mark.parametrize(
    "said",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /?{ HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\n",
        b"{ / HTTP/1.1\r\n", b"[] / HTTP/1.1\r\n", b"1\n", b"$qSupported#37\n", b'"x"\n',
    ],
)  # fmt: skip
def test_another_protocol_ends_the_session_before_a_command(
    session: QmpSession, said: bytes, cut: int
) -> None:
    """A request's body may have commands in it."""
    said += b'{"execute": "qmp_capabilities"}\n{"execute": "query-status"}\n'
    out = b""
    for at in range(0, len(said), cut):
        session.receive(said[at : at + cut])
        while (reply := session.advance()) is not None:
            out += reply
    assert session.over
    assert b'"return"' not in out


def test_a_line_that_fills_the_buffer_ends_the_session(ready: QmpSession) -> None:
    ready.receive(b"x" * (1 << 16))
    assert ready.full
    assert ready.advance() is None
    assert ready.over


def test_a_line_without_an_end_ends_the_session(ready: QmpSession) -> None:
    ready.receive(b"x" * 70_000)
    assert ready.full
    assert ready.advance() is None
    assert ready.over


@given(st.lists(st.binary(max_size=60)))
def test_any_bytes(pieces: list[bytes]) -> None:
    session = QmpSession(Guest())
    for piece in pieces:
        session.receive(piece)
        while (reply := session.advance()) is not None:
            assert "error" in json.loads(reply)


@given(st.integers(1, 40))
def test_however_bytes_are_cut(size: int) -> None:
    text = b'{"execute": "qmp_capabilities"}\n\n{"execute": "query-target", "id": 7}\r\n'
    session = QmpSession(Guest())
    said = []
    for at in range(0, len(text), size):
        session.receive(text[at : at + size])
        while (reply := session.advance()) is not None:
            said.append(json.loads(reply))
    assert said == [{"return": {}}, {"id": 7, "return": {"arch": "aarch64"}}]
