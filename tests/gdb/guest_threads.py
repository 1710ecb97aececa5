"""A thread of the guest's own, forged: it waits in ``factorial``, which ``main`` has called."""

import struct
from collections.abc import Sequence

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from gdbstub.aarch64.registers import PC, SP, X
from gdbstub.architecture import Register
from gdbstub.debug.extensions import GUEST_THREADS
from gdbstub.errors import NoSuchRegister
from gdbstub.target import Thread
from tests.gdb.served import Served

THREAD = GUEST_THREADS + 42
_BL = 0b100101
#: Of the second of the guest's stacks, which one vCPU does not use.
_BELOW = 0x100


class Waiting:
    """``debug.extensions.GuestThreads`` of one thread."""

    def __init__(self, served: Served) -> None:
        """Forge its stack in the guest of *served*, and show it."""
        self._debugger = served.stub.debugger
        with served.guest.elf.open("rb") as file:
            table = ELFFile(file).get_section_by_name(".symtab")
            assert isinstance(table, SymbolTableSection)
            symbols: dict[str, int] = {e.name: e["st_value"] for e in table.iter_symbols()}
        code = struct.unpack_from(f"<{served.guest.code_size // 4}I", served.guest.image)
        base = symbols["_start"]

        def call(begin: str, callee: str) -> int:
            """Return the address behind the first call of *callee* from *begin* on."""
            for gva in range(symbols[begin], base + 4 * len(code), 4):
                word = code[(gva - base) // 4]
                offset = (word & 0x3FF_FFFF ^ 0x200_0000) - 0x200_0000
                if word >> 26 == _BL and gva + 4 * offset == symbols[callee]:
                    return gva + 4
            raise AssertionError(f"{begin} does not call {callee}")

        sp = symbols["stacks"] + 2 * 4096 - _BELOW
        # factorial's frame, with its n, and main's.
        frames = struct.pack("<3QIIQQ", sp + 32, call("main", "factorial"), 0, 0, 3, 0, base + 20)
        served.stub.machine.write_memory(sp, frames)
        self._registers = {X[19]: 19, X[29]: sp, SP: sp, PC: call("factorial", "factorial")}
        self._debugger.tasks = self

    def threads(self) -> Sequence[Thread]:
        return (Thread(THREAD, None, "sleeper", "PID 42, state S"),)

    def register(self, thread: int, register: Register) -> int:
        assert thread == THREAD
        try:
            return self._registers[register]
        except KeyError:
            raise NoSuchRegister(f"no {register.name} is kept") from None

    def read_memory(self, thread: int, gva: int, length: int) -> bytes:
        assert thread == THREAD
        return self._debugger.read_memory(1, gva, length)
