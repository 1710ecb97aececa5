"""A bare loop of KVM_RUN and KVM_GET_ONE_REG, in the lab: the floor under range stepping.

One vCPU is run by the only thread. Two numbers are printed: instructions stepped, nanoseconds.
"""

import mmap
import sys
import time

from gdbstub.aarch64.registers import PC
from gdbstub.kvm import abi
from gdbstub.kvm.abi import ffi, libc
from gdbstub.kvm.port import LOCAL, ioctl

BASE = 0x4000_0000
SIZE = 0x20_0000
#: 1: subs x9, x9, #1; b.ne 1b; b 1b
LOOP = bytes.fromhex("290500f1" "e1ffff54" "feffff17")  # fmt: skip


def main(seconds: float) -> None:
    """Step through the loop for *seconds*."""
    with open("/dev/kvm", "rb") as kvm:
        ram = mmap.mmap(-1, SIZE)
        ram[: len(LOOP)] = LOOP
        buffer = ffi.from_buffer(ram)
        vm = ioctl(LOCAL, kvm.fileno(), abi.CREATE_VM)
        region = ffi.new("struct kvm_userspace_memory_region *")
        region.guest_phys_addr, region.memory_size = BASE, SIZE
        region.userspace_addr = int(ffi.cast("uintptr_t", buffer))
        ioctl(LOCAL, vm, abi.SET_USER_MEMORY_REGION, region)
        fd = ioctl(LOCAL, vm, abi.CREATE_VCPU)
        init = ffi.new("struct kvm_vcpu_init *")
        ioctl(LOCAL, vm, abi.ARM_PREFERRED_TARGET, init)
        ioctl(LOCAL, fd, abi.ARM_VCPU_INIT, init)
        value = ffi.new("uint64_t *", BASE)
        pc = ffi.new("struct kvm_one_reg *", (PC.id, int(ffi.cast("uintptr_t", value))))
        ioctl(LOCAL, fd, abi.SET_ONE_REG, pc)
        debug = ffi.new("struct kvm_guest_debug *")
        debug.control = abi.GUESTDBG_ENABLE | abi.GUESTDBG_SINGLESTEP
        ioctl(LOCAL, fd, abi.SET_GUEST_DEBUG, debug)
        call, run, get, nothing = libc.ioctl, abi.RUN, abi.GET_ONE_REG, ffi.NULL
        steps, start = 0, time.monotonic_ns()
        end = start + int(seconds * 1e9)
        while time.monotonic_ns() < end:
            for _ in range(100):
                call(fd, run, nothing)
                call(fd, get, pc)
            steps += 100
        print(steps, time.monotonic_ns() - start)


if __name__ == "__main__":
    main(float(sys.argv[1]))
