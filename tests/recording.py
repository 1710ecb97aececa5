"""Records the sessions of ``tests/pure/sessions``: real clients, the fake target, our server.

``tests/gdb/transcript.py`` and ``tests/lldb/transcript.py`` say what each client does.
"""

import asyncio
import io
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gdbstub.protocol.endpoint import Tcp
from gdbstub.protocol.record import Recorder
from gdbstub.protocol.server import Server
from tests.gdb.build import build
from tests.pure.able_target import AbleTarget
from tests.pure.sessions import recorded_target
from tests.pure.transcript import without_registers

_SESSIONS: Final = Path(__file__).parent / "pure" / "sessions"
#: Replies that say what there is, as tests of their own do: they change, a session does not.
_SHORTENED: Final = (
    r"(-> \$PacketSize=).*",
    r"(<- \$qXfer:features:.*\n-> \$).*",
    r"(-> \$l<\?xml).*",
    r"(-> \$vCont;).*",
    r"(<- \$qXfer:exec-file:.*\n-> \$l).*",
)

#: Talks to the server at an address, with a program's symbols at hand; what the client said.
Client = Callable[[str, Path, AbleTarget], str]


def major_version(program: str, pattern: str) -> str:
    """The major version that *program* says it has, where *pattern* finds it."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    found = re.search(pattern, said.stdout)
    assert found, said.stdout
    return found[1]


def record(client: Client, name: str, *, names_file: bool = False) -> None:
    """Have *client* hold its session and write it down as *name*.

    With *names_file* it is the target that says which file the program is.
    """
    (_SESSIONS / f"{name}.txt").write_text(asyncio.run(_held(client, names_file=names_file)))


async def _held(client: Client, *, names_file: bool) -> str:
    log, target = io.StringIO(), recorded_target()
    server = Server(target, Tcp("127.0.0.1", 0), recorder=Recorder(log))
    await server.start()
    try:
        with tempfile.TemporaryDirectory() as directory:
            source = Path(__file__).parent / "gdb" / "nops.c"
            elf = build(Path(directory), source, "-O1").elf
            target.file = str(elf) if names_file else ""
            print(await asyncio.to_thread(client, server.remote, elf, target))
    finally:
        await server.close()
    text = "".join(f"{without_registers(line)}\n" for line in log.getvalue().splitlines())
    for pattern in _SHORTENED:
        text = re.sub(pattern, r"\1…", text)
    return text
