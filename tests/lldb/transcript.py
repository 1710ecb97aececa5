"""Records LLDB's session of ``tests/pure/sessions``: ``python -m tests.lldb.transcript FILE``."""

import asyncio
import io
import re
import sys
from pathlib import Path
from typing import Final

from gdbstub.endpoint import Tcp
from gdbstub.record import Recorder
from gdbstub.server import Server
from tests.lldb.debugger import lldb
from tests.pure.sessions import recorded_target
from tests.pure.transcript import without_registers

_COMMANDS: Final = (
    "breakpoint set --address 0x40000020",
    "continue",
    "bt",
    "register read x0 v3 cpsr",
    "register write x1 7",
    "thread step-inst",
    "memory read --format x --size 4 --count 4 0x40000100",
    "memory write --size 4 --format x 0x40000100 0x12345678",
    "watchpoint set expression -w write -s 8 -- 0x40000200",
    "watchpoint list",
    "watchpoint delete 1",
    "breakpoint delete 1",
    "breakpoint set --hardware --address 0x40000080",
    "continue",
    "thread list",
    "detach",
)
#: Replies that say what there is, as tests of their own do: they change, this session does not.
_SHORTENED: Final = (r"(-> \$PacketSize=).*", r"(-> \$l<\?xml).*", r"(-> \$vCont;).*")


async def record() -> str:
    """Hold the session; what was said."""
    log = io.StringIO()
    server = Server(recorded_target(), Tcp("127.0.0.1", 0), recorder=Recorder(log))
    await server.start()
    try:
        said = await asyncio.to_thread(lldb, server.remote, None, *_COMMANDS, timeout=60)
    finally:
        await server.close()
    print(said)
    text = "".join(f"{without_registers(line)}\n" for line in log.getvalue().splitlines())
    for pattern in _SHORTENED:
        text = re.sub(pattern, r"\1…", text)
    return text


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(asyncio.run(record()))
