"""GDB for a program in an emulator: python unicorn_aarch64.py program.elf [ENDPOINT]

The program is a static AArch64 ELF; ``svc`` ends it, with x0 for its status.
"""

import asyncio
import sys
from collections.abc import Sequence

from elftools.elf.elffile import ELFFile
from unicorn import Uc, UcError, arm64_const, unicorn_const

from gdbstub import CooperativeTarget, Exited, MemoryFault, Register, Report, Signal, Stopped, serve
from gdbstub.aarch64.architecture import AARCH64
from gdbstub.aarch64.registers import CPSR, PC, SP, X

STACK, PAGE, NOWHERE = 0x7FFF_0000, 0x1000, (1 << 64) - 1
SVC = 2  # Unicorn's number of that exception
IDS = {row: getattr(arm64_const, f"UC_ARM64_REG_{row.name.upper()}") for row in (*X, SP, PC)}
IDS[CPSR] = arm64_const.UC_ARM64_REG_PSTATE


class UnicornTarget(CooperativeTarget):
    """One CPU; a program's segments, and a stack."""

    architecture = AARCH64
    registers = (*X, SP, PC, CPSR)

    def __init__(self, program: ELFFile) -> None:
        super().__init__()
        self._found: Report | None = None
        self._cpu = cpu = Uc(unicorn_const.UC_ARCH_ARM64, unicorn_const.UC_MODE_ARM)
        cpu.mem_map(STACK - 16 * PAGE, 16 * PAGE)
        for segment in program.iter_segments("PT_LOAD"):
            start, end = segment["p_vaddr"], segment["p_vaddr"] + segment["p_memsz"]
            cpu.mem_map(start & -PAGE, (end + PAGE - 1 & -PAGE) - (start & -PAGE))
            cpu.mem_write(start, segment.data())
        cpu.reg_write(IDS[PC], program["e_entry"])
        cpu.reg_write(IDS[SP], STACK)
        cpu.hook_add(unicorn_const.UC_HOOK_CODE, self._fetch)
        cpu.hook_add(unicorn_const.UC_HOOK_MEM_READ | unicorn_const.UC_HOOK_MEM_WRITE, self._access)
        cpu.hook_add(unicorn_const.UC_HOOK_INTR, self._exception)

    def read_registers(self, thread: int, registers: Sequence[Register]) -> bytes:
        """The registers' bytes one after another."""
        return b"".join(self._cpu.reg_read(IDS[r]).to_bytes(r.size, "little") for r in registers)

    def write_register(self, thread: int, register: Register, data: bytes) -> None:
        """Write one register."""
        self._cpu.reg_write(IDS[register], int.from_bytes(data, "little"))

    def read_memory(self, thread: int, address: int, length: int) -> bytes:
        """Read no further than the end of what was mapped at once: a client asks again."""
        for start, last, _ in self._cpu.mem_regions():
            if start <= address <= last:
                return bytes(self._cpu.mem_read(address, min(length, last + 1 - address)))
        raise MemoryFault(f"nothing is mapped at {address:#x}")

    def write_memory(self, thread: int, address: int, data: bytes) -> None:
        """Write, and have Unicorn translate anew what code there is."""
        try:
            self._cpu.mem_write(address, data)
            self._cpu.ctl_remove_cache(address, address + len(data))
        except UcError as error:
            raise MemoryFault(f"{error} at {address:#x}") from None

    def execute(self, count: int) -> Report | None:
        """Execute until a hook has found something."""
        self._found = None
        try:
            self._cpu.emu_start(self._cpu.reg_read(IDS[PC]), NOWHERE, count=count)
        except UcError as error:
            return Stopped(1, Signal.SEGV, text=str(error))
        return self._found

    def _stop(self, report: Report | None) -> None:
        if report:
            self._found = report
            self._cpu.emu_stop()

    def _fetch(self, _cpu: Uc, gva: int, _size: int, _data: object) -> None:
        self._stop(self.breakpoint_at(gva))

    def _access(self, _cpu: Uc, kind: int, gva: int, size: int, _new: int, _data: object) -> None:
        self._stop(self.watchpoint_at(gva, size, write=kind == unicorn_const.UC_MEM_WRITE))

    def _exception(self, cpu: Uc, number: int, _data: object) -> None:
        status = cpu.reg_read(IDS[X[0]]) & 0xFF
        self._stop(Exited(status) if number == SVC else Stopped(1, Signal.ILL))


if __name__ == "__main__":
    endpoint = sys.argv[2] if len(sys.argv) > 2 else "localhost:1234"
    with open(sys.argv[1], "rb") as file:
        target = UnicornTarget(ELFFile(file))
    asyncio.run(serve(target, endpoint, listening=lambda server: print(server.remote, flush=True)))
