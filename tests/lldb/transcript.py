"""Records LLDB's sessions of ``tests/pure/sessions``: ``python -m tests.lldb.transcript``.

It is the ``lldb`` that is first on the path.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.bounds import HANGS
from tests.lldb.debugger import Interactive, lldb
from tests.pure.able_target import AbleTarget
from tests.recording import Client, major_version, record

_GENERAL: Final = (
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
_PROGRAM: Final = (
    "process plugin packet monitor help",
    "process plugin packet monitor nonsense",
    "process plugin packet send qC",
    "memory write --size 4 --format x 0x40000084 0x14000000",  # as the program has it
    "breakpoint set --address 0x40000010 --condition '$x0 == 5'",
    "breakpoint set --address 0x40000014",
    "continue",
    "breakpoint delete 1 2",
    "thread step-over",
    "thread step-in",
    "watchpoint set expression -w read -s 4 -- 0x40000100",
    "watchpoint set expression -w read_write -s 4 -- 0x40000108",
    "thread select 2",
    "thread step-inst",
    "thread select 1",
    "thread step-inst --run-mode all-threads",
    "watchpoint delete 1 2",
    "image list",
)
_SETTINGS: Final = ("plugin.process.gdb-remote.use-g-packet-for-reading true",)
_SYSTEM: Final = (
    "register read v3 fpsr",
    "thread step-inst",
    "thread select 2",
    "register read x1 v4",
    # No expression asks for memory on bare metal. An LLDB without Python ends here.
    "script lldb.process.AllocateMemory(16, lldb.ePermissionsReadable, lldb.SBError())",
    "detach",
)


def _scripted(
    commands: Sequence[str], *, symbols: bool = False, settings: Sequence[str] = ()
) -> Client:
    def client(remote: str, elf: Path, _target: AbleTarget) -> str:
        file = elf if symbols else None
        return lldb(remote, file, *commands, settings=settings, timeout=HANGS)

    return client


def _interrupted(remote: str, elf: Path, _target: AbleTarget) -> str:
    session = Interactive(remote, elf)
    session.type("memory write --size 4 --format x 0x40000010 0x14000000", "continue")
    session.wait_until_running()
    session.interrupt()
    return session.finish("detach", timeout=HANGS)


def main() -> None:
    """Hold them all."""
    name = "lldb-" + major_version("lldb", r"lldb version (\d+)\.")
    record(_scripted(_GENERAL), name)
    record(_scripted(_PROGRAM, symbols=True), f"{name}-program")
    record(_scripted(_SYSTEM, settings=_SETTINGS), f"{name}-system", names_file=True)
    record(_interrupted, f"{name}-interrupt")


if __name__ == "__main__":
    main()
