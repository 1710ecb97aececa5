"""Records GDB's session of ``tests/pure/sessions``: ``python -m tests.gdb.transcript GDB FILE``."""

import asyncio
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from gdbstub.endpoint import Tcp
from gdbstub.record import Recorder
from gdbstub.server import Server
from tests.pure.sessions import recorded_target
from tests.pure.transcript import without_registers

_COMMANDS: Final = (
    "info threads",
    "bt",
    "x/4xw $pc",
    "print $v3",
    "set var $x1 = 7",
    "set var *(int *) 0x40000100 = 0x12345678",
    "find 0x40000000, 0x40000fff, (char) 0x78, (char) 0x56",
    "break *0x40000020",
    "continue",
    "stepi",
    "delete 1",
    "watch *(long *) 0x40000200",
    "hbreak *0x40000080",
    "continue",
    "thread 2",
    "maintenance packet Qqemu.PhyMemMode:1",
    "x/xg 0x90000000",
    "maintenance packet Qqemu.PhyMemMode:0",
    "detach",
    "attach 1",
    "delete",
    "kill",
    "starti",
    "detach",
)
#: Replies that say what there is, as tests of their own do: they change, this session does not.
_SHORTENED: Final = (
    r"(-> \$PacketSize=).*",
    r"(<- \$qXfer:features:.*\n-> \$).*",
    r"(-> \$vCont;).*",
)


def _gdb(program: str, remote: str) -> str:
    settings = ("set confirm off", "set width 0", "set architecture aarch64")
    commands = (*settings, f"target extended-remote {remote}", *_COMMANDS)
    words = [word for command in commands for word in ("-ex", command)]
    done = subprocess.run(
        [program, "-nx", "-nh", "-batch", *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=60,
    )  # fmt: skip
    return done.stdout


async def record(program: str) -> str:
    """Hold the session; what was said."""
    log = io.StringIO()
    server = Server(recorded_target(), Tcp("127.0.0.1", 0), recorder=Recorder(log))
    await server.start()
    try:
        print(await asyncio.to_thread(_gdb, program, server.remote))
    finally:
        await server.close()
    text = "".join(f"{without_registers(line)}\n" for line in log.getvalue().splitlines())
    for pattern in _SHORTENED:
        text = re.sub(pattern, r"\1…", text)
    return text


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(asyncio.run(record(sys.argv[1])))
