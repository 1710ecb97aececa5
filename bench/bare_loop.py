"""A bare loop of KVM_RUN and KVM_GET_ONE_REG, in the lab: the floor under range stepping.

One vCPU is run by the only thread. Two numbers are printed: instructions stepped, nanoseconds.
"""

import mmap
import sys
import time

from gdbstub.aarch64.registers import PC
from gdbstub.kvm import abi as kvm_abi
from gdbstub.kvm.abi import ffi, libc

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
        vm = kvm_abi.ioctl(kvm.fileno(), kvm_abi.CREATE_VM)
        region = ffi.new("struct kvm_userspace_memory_region *")
        region.guest_phys_addr, region.memory_size = BASE, SIZE
        region.userspace_addr = int(ffi.cast("uintptr_t", buffer))
        kvm_abi.ioctl(vm, kvm_abi.SET_USER_MEMORY_REGION, region)
        fd = kvm_abi.ioctl(vm, kvm_abi.CREATE_VCPU)
        init = ffi.new("struct kvm_vcpu_init *")
        kvm_abi.ioctl(vm, kvm_abi.ARM_PREFERRED_TARGET, init)
        kvm_abi.ioctl(fd, kvm_abi.ARM_VCPU_INIT, init)
        value = ffi.new("uint64_t *", BASE)
        pc = ffi.new("struct kvm_one_reg *", (PC.id, int(ffi.cast("uintptr_t", value))))
        kvm_abi.ioctl(fd, kvm_abi.SET_ONE_REG, pc)
        debug = ffi.new("struct kvm_guest_debug *")
        debug.control = kvm_abi.GUESTDBG_ENABLE | kvm_abi.GUESTDBG_SINGLESTEP
        kvm_abi.ioctl(fd, kvm_abi.SET_GUEST_DEBUG, debug)
        ioctl, run, get, nothing = libc.ioctl, kvm_abi.RUN, kvm_abi.GET_ONE_REG, ffi.NULL
        steps, start = 0, time.monotonic_ns()
        end = start + int(seconds * 1e9)
        while time.monotonic_ns() < end:
            for _ in range(100):
                ioctl(fd, run, nothing)
                ioctl(fd, get, pc)
            steps += 100
        print(steps, time.monotonic_ns() - start)


if __name__ == "__main__":
    main(float(sys.argv[1]))
