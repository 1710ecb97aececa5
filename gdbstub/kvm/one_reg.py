"""The registers of one vCPU, by KVM_GET_ONE_REG and KVM_SET_ONE_REG.

Each register is read once until the vCPU runs again. This module runs nothing, and gives no
register a meaning. Source: linux/Documentation/virt/kvm/api.rst, 4.68 and 4.69.
"""

import errno
import os
from collections import defaultdict
from typing import Final

from gdbstub.aarch64.registers import CNTVCT_EL0, DCZID_EL0
from gdbstub.architecture import Register
from gdbstub.errors import MachineError, NoSuchRegister, RegisterRefused
from gdbstub.kvm import abi
from gdbstub.kvm.abi import CData, ffi
from gdbstub.kvm.native import core
from gdbstub.kvm.port import IoctlPort, ioctl

# Looked up once: a module's attribute is looked up at each use.
_GET_ONE_REG: Final = abi.GET_ONE_REG
_SET_ONE_REG: Final = abi.SET_ONE_REG

#: The size field of a register's id, for 64 bits.
_BYTES_8: Final = 3


class VirtualClock:
    """The value of every vCPU's virtual counter while all are parked; None: it runs."""

    stopped_at: int | None = None


class Counts:
    """Numbers of one vCPU's runs, exits and register accesses.

    The thread that owns the vCPU at the time changes them.
    """

    def __init__(self) -> None:
        """Begin at zero."""
        #: The native core's counts (``struct counts``).
        self.native: CData = ffi.new("struct counts *")
        self.gets = 0
        self.sets = 0
        #: By ``kvm_run.exit_reason``, those that the core has not passed over; a run that a signal
        #: ended has none.
        self.exits: defaultdict[int, int] = defaultdict(int)


class OneReg:
    """Registers of a vCPU that is parked, or that the calling thread runs.

    KVM makes any other thread's ioctl wait until KVM_RUN returns.
    """

    def __init__(self, port: IoctlPort, fd: int, clock: VirtualClock, counts: Counts) -> None:
        self.port = port
        self.fd = fd
        self.counts = counts
        self._ioctl = port.ioctl  # looked up once: most system calls of a stop are these
        self._clock = clock
        self._value: CData = ffi.new("uint64_t[32]")  # as wide as the widest register, a Z
        self._one_reg: CData = ffi.new("struct kvm_one_reg *")
        self._one_reg.addr = int(ffi.cast("uintptr_t", self._value))
        # What was read since it ran or was written last: registers of a parked vCPU stay.
        self._known: dict[Register, int] = {}

    def get(self, register: Register) -> int:
        """Read a register now (``Vcpu.get``)."""
        if (known := self._known.get(register)) is not None:
            return known
        if register is CNTVCT_EL0 and self._clock.stopped_at is not None:
            return self._clock.stopped_at
        id_ = register.id
        self._one_reg.id = id_
        self.counts.gets += 1
        if self._ioctl(self.fd, _GET_ONE_REG, self._one_reg) < 0:
            if register is DCZID_EL0:
                return int(core().memory_dczid())  # the guest's is the host's
            raise self._refusal(register, self.port.errno)
        if (size := id_ >> 52 & 0xF) == _BYTES_8:
            value: int = self._value[0]
        else:
            value = int.from_bytes(ffi.buffer(self._value, 1 << size), "little")
        if not register.moving:
            self._known[register] = value
        return value

    def set(self, register: Register, value: int) -> None:
        """Write a register now (``Vcpu.set``)."""
        if register is CNTVCT_EL0 and self._clock.stopped_at is not None:
            self._clock.stopped_at = value
            return
        self.forget()
        self._one_reg.id = register.id
        self.counts.sets += 1
        size = register.id >> 52 & 0xF
        if size == _BYTES_8:
            self._value[0] = value
        else:
            ffi.buffer(self._value, 1 << size)[:] = value.to_bytes(1 << size, "little")
        if self._ioctl(self.fd, _SET_ONE_REG, self._one_reg) < 0:
            raise self._refusal(register, self.port.errno, value)

    def forget(self) -> None:
        """Read every register anew from now on.

        Needed before the vCPU runs, and before another does, which may power this one on.
        """
        self._known.clear()

    def listed(self) -> frozenset[int]:
        """The ids of all registers that the vCPU has (KVM_GET_REG_LIST), and that of DCZID_EL0.

        Raises:
            MachineError: the call failed.
        """
        count = ffi.new("struct kvm_reg_list *", [0, 0])
        try:
            ioctl(self.port, self.fd, abi.GET_REG_LIST, count)
        except MachineError as error:
            if error.errno != errno.E2BIG:  # which says how many there are
                raise
        ids = ffi.new("struct kvm_reg_list *", [count.n, count.n])
        ioctl(self.port, self.fd, abi.GET_REG_LIST, ids)
        return frozenset((*ids.reg[0 : ids.n], DCZID_EL0.id))

    def _refusal(
        self, register: Register, code: int, value: int | None = None
    ) -> NoSuchRegister | RegisterRefused | MachineError:
        absent = code == errno.ENOENT or (code == errno.EINVAL and value is None)
        if register is DCZID_EL0 and value is not None:
            return RegisterRefused(f"{register.name} is the host CPU's: it cannot be written")
        if absent or not register.id:
            return NoSuchRegister(f"this vCPU has no {register.name}")
        if value is not None and code in (errno.EINVAL, errno.EPERM, errno.EBUSY):
            return RegisterRefused(f"KVM does not take {value:#x} for {register.name}")
        call = "GET" if value is None else "SET"
        return MachineError(f"KVM_{call}_ONE_REG of {register.name}: {os.strerror(code)}", code)
