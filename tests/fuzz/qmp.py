"""A target for what a client of ``--qmp`` sends."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gdbstub.linux import qmp
from gdbstub.linux.qmp import QmpSession
from tests.fuzz.target import fuzz_target
from tests.pure.test_qmp import Guest

_OPEN: Final = Path("/proc/self/fd")


def _commands() -> Iterator[bytes]:
    """Yield commands without arguments, and with those that some need."""
    for name in qmp._COMMANDS:
        yield b'\n{"execute": "%b"}' % name.encode()
        yield b'\n{"execute": "%b", "arguments": {' % name.encode()
    yield from (b'"fdname": "a"', b'"protocol": "fd:a"', b'"paging": false', b'"begin": 1073741824')
    yield from (b'"length": 16', b'"command-line": "info ', b'"id": 1', b"}}")


@fuzz_target("qmp-session", 1024, _commands)
def qmp_session(data: bytes) -> None:
    """Each line has one reply, an object with a result or a bounded error; no file stays open."""
    before = len([*_OPEN.iterdir()])
    session = QmpSession(Guest())
    files = [os.memfd_create("client"), os.memfd_create("client"), *os.pipe()]
    session.receive(b'{"execute": "qmp_capabilities"}\n' + data + b"\n", files)
    count = 0
    while (reply := session.advance()) is not None:
        said = json.loads(reply)
        assert ("return" in said) != ("error" in said)
        assert len(json.dumps(said.get("error", ""))) < 1200
        count += 1
    lines = [line for line in data.split(b"\n") if line.strip()]
    assert count == 1 + len(lines)
    session.close()
    assert len([*_OPEN.iterdir()]) == before
