"""Run page: ``struct kvm_run`` of a vCPU of another process, mapped into this one.

It decides nothing about exits. Source: linux/virt/kvm/kvm_main.c (kvm_vcpu_mmap).
"""

import mmap
import os
from typing import TYPE_CHECKING

from gdbstub.foreign import ptrace
from gdbstub.kvm import abi

if TYPE_CHECKING:
    from gdbstub.kvm.abi import CData


class RunPage:
    """``struct kvm_run`` of a vCPU of another process."""

    def __init__(self, pid: int, fd: int) -> None:
        """Map it.

        Raises:
            OSError: this process may not.
        """
        own = ptrace.pidfd_getfd(pid, fd)
        try:
            self._mapping = mmap.mmap(own, mmap.PAGESIZE)
        finally:
            os.close(own)
        self._buffer: CData = abi.ffi.from_buffer(self._mapping)
        self.run: CData = abi.ffi.cast("struct kvm_run *", self._buffer)

    @property
    def has_raised_line(self) -> bool:
        """True while a line of the vCPU's timers or PMU is raised, which the VMM is to pass on.

        It is so in a VM without an interrupt controller in KVM alone; then the VMM must look at
        the lines after each KVM_RUN, for KVM tells of a change once (api.rst,
        KVM_CAP_ARM_USER_IRQ).
        """
        return bool(self.run.device_irq_level)

    def close(self) -> None:
        """Unmap it. Idempotent."""
        if self.run:
            self.run = abi.ffi.NULL
            abi.ffi.release(self._buffer)
            self._mapping.close()
