"""A target for what a client of ``--qmp`` sends."""

import json

from gdbstub.linux.qmp import QmpSession
from tests.fuzz.target import fuzz_target
from tests.pure.test_qmp import Guest


@fuzz_target("qmp-session", 1024)
def qmp_session(data: bytes) -> None:
    """Each line has one reply, a JSON object with a result or an error of bounded length."""
    session = QmpSession(Guest())
    session.receive(b'{"execute": "qmp_capabilities"}\n' + data + b"\n")
    count = 0
    while (reply := session.advance()) is not None:
        said = json.loads(reply)
        assert ("return" in said) != ("error" in said)
        assert len(json.dumps(said.get("error", ""))) < 1200
        count += 1
    lines = [line for line in data.split(b"\n") if line.strip()]
    assert count == 1 + len(lines)
    session.close()
