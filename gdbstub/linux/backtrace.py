"""Backtraces of tasks in a Linux kernel, by the frame records that arm64 kernels always have.

The stack is the guest's and may be damaged: a walk has a bound, and meets no record twice.
Source: linux/arch/arm64/kernel/stacktrace.c, include/asm/stacktrace/frame.h.
"""

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from gdbstub.aarch64.registers import PC, TCR_EL1, X
from gdbstub.aarch64.sysreg import TCR
from gdbstub.errors import MemoryFault, NotFound
from gdbstub.linux.cpu_context import saved_registers
from gdbstub.linux.memory import LinuxKernel, in_kernel, pointer
from gdbstub.linux.tasks import Task, Tasks
from gdbstub.machine import Power

Read = Callable[[int, int], bytes]
#: Names the function of an address, "" where there is no name.
Function = Callable[[int], str]

_MOST: Final = 128
#: struct frame_record: x29 and x30 of the caller.
_RECORD: Final = struct.Struct("<QQ")
#: FRAME_META_TYPE_PT_REGS: the record is of an exception, and in struct pt_regs.
_EXCEPTION: Final = 2
#: Members of struct pt_regs from its start on: x29, x30, sp and pc.
_INTERRUPTED: Final = struct.Struct("<232xQQ8xQ")


class _Place(NamedTuple):
    """Registers of a function that executes or was interrupted; ``link`` is x30, 0 if unknown."""

    pc: int
    fp: int
    link: int = 0


class Backtraces:
    """Backtraces of the *tasks* of *kernel*, whose layout is read once."""

    def __init__(self, kernel: LinuxKernel, tasks: Tasks) -> None:
        """Read the layout.

        Raises:
            NotFound: the kernel's BTF has no cpu_context.
        """
        self._kernel = kernel
        types = tasks.image.btf
        saved = saved_registers(types)
        self._fp, self._pc = saved[X[29]], saved[PC]
        # Since Linux 6.14: of the type in a record of an exception, and of that in its pt_regs.
        self._type, self._in_registers = 0, 0
        with suppress(NotFound):
            self._type = types.members("frame_record_meta", ("type",))["type"]
            self._in_registers = types.members("pt_regs", ("stackframe",))["stackframe"]

    def frames(self, task: Task, function: Function) -> Iterator[int]:
        """Yield the address in each function of *task* in the kernel, the innermost first.

        *function* names the function of an address. It ends early where the stack is damaged.
        There is none of a task that is in a program.
        """
        if task.cpu >= 0:
            yield from self.of_vcpu(task.cpu, function)
            return
        read = self._kernel.reader()
        try:
            place = _Place(pointer(read, task.gva + self._pc), pointer(read, task.gva + self._fp))
        except MemoryFault:
            return
        yield from self._walk(place, read, function)

    def of_vcpu(self, index: int, function: Function) -> Iterator[int]:
        """Yield the same of what a vCPU executes in the kernel, whatever task that is of."""
        vcpu = self._kernel.vcpus[index]
        if vcpu.power is not Power.ON or not in_kernel(vcpu):
            return
        place = _Place(*(vcpu.get(register) for register in (PC, X[29], X[30])))
        yield from self._walk(place, self._kernel.reader(), function)

    def _walk(self, place: _Place, read: Read, function: Function) -> Iterator[int]:
        """Yield the address in the function at *place*, and in those that have called it.

        Behind an exception that is the function which it has interrupted, and its callers.
        """
        yield place.pc
        fp, seen = place.fp, set[int]()
        with suppress(MemoryFault):
            while fp and not fp % 8 and fp not in seen and len(seen) < _MOST:
                seen.add(fp)
                following, link = _RECORD.unpack(read(fp, _RECORD.size))
                if link:
                    caller = self._plain(link)
                    yield from self._without_record(place, function, caller)
                    yield caller
                    place = place._replace(link=0)
                elif following or not self._is_exception(fp, read):
                    break
                else:
                    yield from self._without_record(place, function)
                    place = self._interrupted(fp, read)
                    yield place.pc
                    following = place.fp
                fp = following
        yield from self._without_record(place, function)

    def _without_record(self, place: _Place, function: Function, first: int = 0) -> Iterator[int]:
        """Yield the caller of the function at *place* if it is not *first*, the one in a record.

        A function that has no record yet, or none at all, has its return address in x30. One that
        has called another function has an address of its own there.
        """
        link = self._plain(place.link) if place.link else first
        if link != first and function(link) not in ("", function(place.pc)):
            yield link

    def _is_exception(self, fp: int, read: Read) -> bool:
        return bool(self._in_registers) and pointer(read, fp + self._type) == _EXCEPTION

    def _interrupted(self, fp: int, read: Read) -> _Place:
        data = read(fp - self._in_registers, _INTERRUPTED.size)
        interrupted, link, pc = _INTERRUPTED.unpack(data)
        return _Place(pc, interrupted, link)

    def _plain(self, link: int) -> int:
        """Return a return address without its signature, which is in bits that are 1 in it."""
        signs = -1 << 64 - TCR(self._kernel.vcpu().get(TCR_EL1)).T1SZ
        return (link | signs) % (1 << 64)
