"""KVM's ABI on arm64: structures, ioctl numbers, and a typed view of libc through cffi.

It opens nothing and keeps no state. ``abi.h`` declares what is in ``ffi``. Source:
linux/include/uapi/linux/kvm.h and linux/arch/arm64/include/uapi/asm/kvm.h.
"""

import functools
from typing import Any, Final, Protocol, TypeAlias, cast

from gdbstub.kvm import cdef

#: A C object as cffi gives it, of a type that only its declaration knows.
CData: TypeAlias = Any

ffi: Final[CData] = cdef.ffi


class Libc(Protocol):
    """Functions of libc in use; -1 means failure, with ``ffi.errno``."""

    def ioctl(self, fd: int, request: int, argument: CData, /) -> int:
        """Call ioctl(2) with a pointer argument."""
        ...

    def prctl(self, option: int, *arguments: int) -> int:
        """Call prctl(2) with four arguments."""
        ...

    def syscall(self, number: int, first: int, second: int, third: CData, /) -> int:
        """Call syscall(2) with three arguments, the last of them a pointer."""
        ...

    def signal(self, signum: int, handler: CData) -> CData:
        """Call signal(2)."""
        ...


libc: Final = cast("Libc", ffi.dlopen(None))

_NONE, _WRITE, _READ = 0, 1, 2


def _ioc(direction: int, number: int, struct: str = "") -> int:
    """Encode an ioctl request of KVM's type 0xAE (linux/include/uapi/asm-generic/ioctl.h)."""
    size = ffi.sizeof(struct) if struct else 0
    return direction << 30 | size << 16 | 0xAE << 8 | number


GET_API_VERSION: Final = _ioc(_NONE, 0x00)
CREATE_VM: Final = _ioc(_NONE, 0x01)
CHECK_EXTENSION: Final = _ioc(_NONE, 0x03)
GET_VCPU_MMAP_SIZE: Final = _ioc(_NONE, 0x04)
CREATE_VCPU: Final = _ioc(_NONE, 0x41)
SET_USER_MEMORY_REGION: Final = _ioc(_WRITE, 0x46, "struct kvm_userspace_memory_region")
IRQ_LINE: Final = _ioc(_WRITE, 0x61, "struct kvm_irq_level")
RUN: Final = _ioc(_NONE, 0x80)
GET_MP_STATE: Final = _ioc(_READ, 0x98, "struct kvm_mp_state")
SET_GUEST_DEBUG: Final = _ioc(_WRITE, 0x9B, "struct kvm_guest_debug")
GET_VCPU_EVENTS: Final = _ioc(_READ, 0x9F, "struct kvm_vcpu_events")
SET_VCPU_EVENTS: Final = _ioc(_WRITE, 0xA0, "struct kvm_vcpu_events")
ENABLE_CAP: Final = _ioc(_WRITE, 0xA3, "struct kvm_enable_cap")
GET_ONE_REG: Final = _ioc(_WRITE, 0xAB, "struct kvm_one_reg")
SET_ONE_REG: Final = _ioc(_WRITE, 0xAC, "struct kvm_one_reg")
ARM_VCPU_INIT: Final = _ioc(_WRITE, 0xAE, "struct kvm_vcpu_init")
ARM_PREFERRED_TARGET: Final = _ioc(_READ, 0xAF, "struct kvm_vcpu_init")
GET_REG_LIST: Final = _ioc(_WRITE | _READ, 0xB0, "struct kvm_reg_list")
ARM_MTE_COPY_TAGS: Final = _ioc(_READ, 0xB4, "struct kvm_arm_copy_mte_tags")
ARM_VCPU_FINALIZE: Final = _ioc(_WRITE, 0xC2, "int")
CREATE_DEVICE: Final = _ioc(_WRITE | _READ, 0xE0, "struct kvm_create_device")
SET_DEVICE_ATTR: Final = _ioc(_WRITE, 0xE1, "struct kvm_device_attr")

# Capabilities.
CAP_ARM_EL1_32BIT: Final = 93
CAP_ARM_PMU_V3: Final = 126
CAP_ARM_VM_IPA_SIZE: Final = 165
CAP_ARM_SVE: Final = 170
CAP_ARM_PTRAUTH_ADDRESS: Final = 171
CAP_ARM_PTRAUTH_GENERIC: Final = 172
CAP_ARM_NISV_TO_USER: Final = 177
CAP_ARM_MTE: Final = 205
CAP_GUEST_DEBUG_HW_BPS: Final = 119
CAP_GUEST_DEBUG_HW_WPS: Final = 120
CAP_SET_GUEST_DEBUG: Final = 23
CAP_MAX_VCPUS: Final = 66

# KVM_SET_GUEST_DEBUG control.
GUESTDBG_ENABLE: Final = 1 << 0
GUESTDBG_SINGLESTEP: Final = 1 << 1
GUESTDBG_USE_SW_BP: Final = 1 << 16
GUESTDBG_USE_HW: Final = 1 << 17

# kvm_arm_copy_mte_tags.flags.
TAGS_TO_GUEST: Final = 0
TAGS_FROM_GUEST: Final = 1

#: errno.EHWPOISON is there from Python 3.14 on.
EHWPOISON: Final = 133

# kvm_run.exit_reason.
EXIT_DEBUG: Final = 4
EXIT_MMIO: Final = 6
EXIT_FAIL_ENTRY: Final = 9
EXIT_INTR: Final = 10
EXIT_INTERNAL_ERROR: Final = 17
EXIT_SYSTEM_EVENT: Final = 24
EXIT_ARM_NISV: Final = 28

SYSTEM_EVENT_SHUTDOWN: Final = 1
SYSTEM_EVENT_RESET: Final = 2
SYSTEM_EVENT_CRASH: Final = 3

MP_STATE_STOPPED: Final = 5

# kvm_vcpu_init.features[0].
VCPU_POWER_OFF: Final = 1 << 0
VCPU_EL1_32BIT: Final = 1 << 1
VCPU_PSCI_0_2: Final = 1 << 2
VCPU_PMU_V3: Final = 1 << 3
VCPU_SVE: Final = 1 << 4
VCPU_PTRAUTH_ADDRESS: Final = 1 << 5
VCPU_PTRAUTH_GENERIC: Final = 1 << 6

#: KVM_ARM_VCPU_FINALIZE's argument: a feature by its number.
FINALIZE_SVE: Final = 4

# Devices, and the attributes of the virtual GICs.
DEV_ARM_VGIC_V2: Final = 5
DEV_ARM_VGIC_V3: Final = 7
CREATE_DEVICE_TEST: Final = 1
VGIC_GRP_ADDR: Final = 0
VGIC_GRP_NR_IRQS: Final = 3
VGIC_GRP_CTRL: Final = 4
VGIC_V2_ADDR_DIST: Final = 0
VGIC_V2_ADDR_CPU: Final = 1
VGIC_V3_ADDR_DIST: Final = 2
VGIC_V3_ADDR_REDIST: Final = 3
VGIC_CTRL_INIT: Final = 0

# Attributes of a vCPU.
PMU_V3_CTRL: Final = 0
PMU_V3_IRQ: Final = 0
PMU_V3_INIT: Final = 1

IRQ_TYPE_SPI: Final = 1 << 24


@functools.cache
def names(prefix: str = "") -> dict[int, str]:
    """Map values to names: of the constants with *prefix*, or else of all ioctl requests."""
    constants = {name: value for name, value in globals().items() if isinstance(value, int)}
    if prefix:
        return {
            value: name.removeprefix(prefix)
            for name, value in constants.items()
            if name.startswith(prefix)
        }
    return {value: f"KVM_{name}" for name, value in constants.items() if value >> 8 & 0xFF == 0xAE}


def take_signal(signum: int) -> None:
    """Have *signum* interrupt a system call of the thread that gets it, and do nothing else.

    The handler is a C function without side effects, ``abs``: a Python handler would run on the
    main thread and wake its event loop.
    """
    libc.signal(signum, ffi.cast("sighandler_t", ffi.addressof(libc, "abs")))
