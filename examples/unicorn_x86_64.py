"""GDB for an x86-64 program in an emulator: python unicorn_x86_64.py program.elf [ENDPOINT]"""

import asyncio
import sys
from collections.abc import Sequence

from elftools.elf.elffile import ELFFile
from unicorn import Uc, UcError, unicorn_const, x86_const

import gdbstub
from gdbstub import MemoryFault, Register, Report, Signal, Stopped

STACK, PAGE, NOWHERE, WRITE = 0x7FFF_0000, 0x1000, (1 << 64) - 1, unicorn_const.UC_MEM_WRITE
CPU = "rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip eflags cs ss ds es fs gs"
IDS = {name: getattr(x86_const, f"UC_X86_REG_{name.upper()}") for name in CPU.split()}
# GDB accepts no description without these. Here they are unavailable.
X87 = "st0 st1 st2 st3 st4 st5 st6 st7 fctrl fstat ftag fiseg fioff foseg fooff fop"
BITS = {n: 64 if n[0] == "r" else 80 if n[:2] == "st" else 32 for n in f"{CPU} {X87}".split()}
TYPES = {"rip": "code_ptr", "rsp": "data_ptr", "rbp": "data_ptr"}
TYPES |= {name: "i387_ext" for name, bits in BITS.items() if bits == 80}


class UnicornTarget(gdbstub.CooperativeTarget):
    """One CPU; a program's segments, and a stack."""

    architecture = gdbstub.Architecture(
        "i386:x86-64", "x86_64-unknown-none", breakpoint_kinds=(1,), watchpoints_stop_after=True
    )
    registers = tuple(
        Register(name, bits, 0, TYPES.get(name, "int"), "org.gnu.gdb.i386.core", number)
        for number, (name, bits) in enumerate(BITS.items())
    )

    def __init__(self, program: ELFFile) -> None:
        super().__init__()
        self._found: Report | None = None
        self._cpu = cpu = Uc(unicorn_const.UC_ARCH_X86, unicorn_const.UC_MODE_64)
        cpu.mem_map(STACK - 16 * PAGE, 16 * PAGE)
        for segment in program.iter_segments("PT_LOAD"):
            start, end = segment["p_vaddr"], segment["p_vaddr"] + segment["p_memsz"]
            cpu.mem_map(start & -PAGE, (end + PAGE - 1 & -PAGE) - (start & -PAGE))
            cpu.mem_write(start, segment.data())
        cpu.reg_write(IDS["rip"], program["e_entry"])
        cpu.reg_write(IDS["rsp"], STACK)
        cpu.hook_add(unicorn_const.UC_HOOK_CODE, self._fetch)
        cpu.hook_add(unicorn_const.UC_HOOK_MEM_READ | unicorn_const.UC_HOOK_MEM_WRITE, self._access)
        cpu.hook_add(
            unicorn_const.UC_HOOK_INSN, self._end, None, 1, 0, x86_const.UC_X86_INS_SYSCALL
        )

    def read_registers(self, thread: int, registers: Sequence[Register]) -> bytes:
        if any(row.name not in IDS for row in registers):
            raise gdbstub.NoSuchRegister("the x87 registers cannot be read")
        values = ((self._cpu.reg_read(IDS[row.name]), row.size) for row in registers)
        return b"".join(value.to_bytes(size, "little") for value, size in values)

    def write_register(self, thread: int, register: Register, data: bytes) -> None:
        if register.name not in IDS:
            raise gdbstub.RegisterRefused("the x87 registers cannot be written")
        self._cpu.reg_write(IDS[register.name], int.from_bytes(data, "little"))

    def read_memory(self, thread: int, address: int, length: int) -> bytes:
        for start, last, _ in self._cpu.mem_regions():
            if start <= address <= last:
                return bytes(self._cpu.mem_read(address, min(length, last + 1 - address)))
        raise MemoryFault(f"nothing is mapped at {address:#x}")

    def write_memory(self, thread: int, address: int, data: bytes) -> None:
        try:
            self._cpu.mem_write(address, data)
            self._cpu.ctl_remove_cache(address, address + len(data))
        except UcError as error:
            raise MemoryFault(f"{error} at {address:#x}") from None

    def execute(self, count: int) -> Report | None:
        self._found = None
        try:
            self._cpu.emu_start(self._cpu.reg_read(IDS["rip"]), NOWHERE, count=count)
        except UcError as error:
            return Stopped(1, Signal.SEGV, text=str(error))
        return self._found

    def _fetch(self, cpu: Uc, gva: int, _size: int, _data: object) -> None:
        if found := self._found or self.breakpoint_at(gva):  # the former by an access
            self._end(cpu, found)

    def _access(self, _cpu: Uc, kind: int, gva: int, size: int, _new: int, _data: object) -> None:
        self._found = self._found or self.watchpoint_at(gva, size, write=kind == WRITE)

    def _end(self, cpu: Uc, found: Report | None) -> None:
        self._found = found or gdbstub.Exited(cpu.reg_read(IDS["rdi"]) & 0xFF)  # system call
        cpu.emu_stop()


if __name__ == "__main__":
    target = UnicornTarget(ELFFile.load_from_path(sys.argv[1]))
    remote, show = (*sys.argv, "localhost:1234")[2], lambda server: print(server.remote, flush=True)
    asyncio.run(gdbstub.serve(target, remote, listening=show))
