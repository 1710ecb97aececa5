"""Backtraces of tasks in a Linux kernel, by the frame records that arm64 kernels always have.

The stack is the guest's and may be damaged: a walk has a bound, and meets no record twice.
Source: linux/arch/arm64/kernel/stacktrace.c.
"""

from collections.abc import Callable, Iterator
from typing import Final

from gdbstub.aarch64.registers import PC, TCR_EL1, X
from gdbstub.aarch64.sysreg import TCR
from gdbstub.errors import MemoryFault
from gdbstub.linux.cpu_context import saved_registers
from gdbstub.linux.memory import LinuxKernel, in_kernel, pointer
from gdbstub.linux.tasks import Task, Tasks
from gdbstub.machine import Power

_MOST: Final = 128
_RECORD: Final = 16


class Backtraces:
    """Backtraces of the *tasks* of *kernel*, whose layout is read once."""

    def __init__(self, kernel: LinuxKernel, tasks: Tasks) -> None:
        """Read the layout.

        Raises:
            NotFound: the kernel's BTF has no cpu_context.
        """
        self._kernel = kernel
        saved = saved_registers(tasks.image.btf)
        self._fp, self._pc = saved[X[29]], saved[PC]

    def frames(self, task: Task, function: Callable[[int], str]) -> Iterator[int]:
        """Yield the address in each function of *task* in the kernel, the innermost first.

        *function* names the function of an address. It ends early where the stack is damaged.
        There is none of a task that is in a program.
        """
        if task.cpu >= 0:
            yield from self.of_vcpu(task.cpu, function)
            return
        read = self._kernel.reader()
        try:
            pc, fp = pointer(read, task.gva + self._pc), pointer(read, task.gva + self._fp)
        except MemoryFault:
            return
        yield pc
        yield from self._walk(fp, read)

    def of_vcpu(self, index: int, function: Callable[[int], str]) -> Iterator[int]:
        """Yield the same of what a vCPU executes in the kernel, whatever task that is of.

        A function that has no record yet, or none at all, has its return address in x30. One that
        has called another function has an address of its own there.
        """
        vcpu = self._kernel.vcpus[index]
        if vcpu.power is not Power.ON or not in_kernel(vcpu):
            return
        pc, link = vcpu.get(PC), self._plain(vcpu.get(X[30]))
        yield pc
        callers = self._walk(vcpu.get(X[29]), self._kernel.reader())
        first = next(callers, None)
        if link != first and function(link) not in ("", function(pc)):
            yield link
        if first is not None:
            yield first
            yield from callers

    def _plain(self, link: int) -> int:
        """Return a return address without its signature, which is in bits that are 1 in it."""
        signs = -1 << 64 - TCR(self._kernel.vcpu().get(TCR_EL1)).T1SZ
        return (link | signs) % (1 << 64)

    def _walk(self, fp: int, read: Callable[[int, int], bytes]) -> Iterator[int]:
        seen = set[int]()
        while fp and not fp % 8 and fp not in seen and len(seen) < _MOST:
            seen.add(fp)
            try:
                record = read(fp, _RECORD)
            except MemoryFault:
                return
            fp, link = (int.from_bytes(record[at : at + 8], "little") for at in (0, 8))
            if not link:
                return
            yield self._plain(link)
