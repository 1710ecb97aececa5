"""vCPU features: what ``--cpu`` asks for, what of it the host has, and how KVM is told.

It makes no vCPU and runs none. Source: linux/Documentation/virt/kvm/api.rst, 4.82
(KVM_ARM_VCPU_INIT), 4.119 (KVM_ARM_VCPU_FINALIZE), and devices/vcpu.rst, 1 (the PMU).
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from gdbstub.aarch64.sve import MAX_BITS, QUADWORD, VLS, vector_lengths
from gdbstub.errors import InputError
from gdbstub.kvm import abi as kvm_abi
from gdbstub.kvm.abi import ffi
from gdbstub.kvm.vcpu import KvmVcpu

_SWITCH: Final = {"on": True, "off": False}
_SPELLED: Final = {value: word for word, value in _SWITCH.items()}
#: What has this many digits at most is looked at as a number.
_DIGITS: Final = 4


class CpuOptions(NamedTuple):
    """What a person asks of the vCPUs; None: as the host has it.

    ``aarch32`` is AArch32 at EL1, which they do not have unless asked for; programs at EL0
    need no option for it. ``vector_length`` is that of the longest SVE vector, in bits.
    """

    sve: bool | None = None
    pauth: bool | None = None
    pmu: bool | None = None
    mte: bool | None = None
    aarch32: bool | None = None
    vector_length: int | None = None

    def __str__(self) -> str:
        """As ``--cpu`` takes it."""
        words = ["host"]
        for name in _NAMES:
            if (value := getattr(self, name)) is not None:
                words.append(f"{name}={_SPELLED[value]}")
        if self.vector_length is not None:
            words[1] = f"sve={self.vector_length}"
        return ",".join(words)


_NAMES: Final = [name for name in CpuOptions._fields if name != "vector_length"]


def parse_cpu(text: str) -> CpuOptions:
    """Understand the argument of ``--cpu``: ``host``, then ``feature=on|off``, by commas.

    Raises:
        InputError: it means nothing, and what would.
    """
    switches: dict[str, bool] = {}
    vector_length: int | None = None
    words = [word.strip() for word in text.split(",")]
    for word in words[1:] if words[0] == "host" else words:
        name, _, value = word.partition("=")
        if name not in _NAMES:
            known = ", ".join(_NAMES)
            raise InputError(f"--cpu {text}: {name!r} is no feature; those are {known}")
        if name in switches:
            raise InputError(f"--cpu {text}: {name} is there twice")
        if value in _SWITCH:
            switches[name] = _SWITCH[value]
        elif name == "sve":
            switches[name], vector_length = True, _bits(text, value)
        else:
            raise InputError(f"--cpu {text}: expected {name}=on or {name}=off")
    cpu = CpuOptions(**switches, vector_length=vector_length)
    if cpu.aarch32 and (cpu.sve or cpu.pauth or cpu.mte):
        raise InputError(f"--cpu {text}: with aarch32=on there is no sve, no pauth and no mte")
    return cpu


def _bits(text: str, value: str) -> int:
    number = value.isascii() and value.isdecimal() and len(value) <= _DIGITS
    bits = int(value) if number else 0
    if not QUADWORD <= bits <= MAX_BITS or bits % QUADWORD:
        raise InputError(
            f"--cpu {text}: expected sve=on, sve=off or the bits of the longest vector, "
            f"a multiple of {QUADWORD} up to {MAX_BITS}"
        )
    return bits


class Features(NamedTuple):
    """What the vCPUs of one VM have."""

    sve: bool = False
    pauth: bool = False
    pmu: bool = False
    #: Memory tags: a feature of the VM, which it has before it has vCPUs.
    mte: bool = False
    aarch32: bool = False

    @property
    def init(self) -> int:
        """``kvm_vcpu_init.features[0]``."""
        bits = kvm_abi.VCPU_PSCI_0_2
        if self.sve:
            bits |= kvm_abi.VCPU_SVE
        if self.pauth:  # KVM has both or none
            bits |= kvm_abi.VCPU_PTRAUTH_ADDRESS | kvm_abi.VCPU_PTRAUTH_GENERIC
        if self.pmu:
            bits |= kvm_abi.VCPU_PMU_V3
        if self.aarch32:
            bits |= kvm_abi.VCPU_EL1_32BIT
        return bits


def choose(cpu: CpuOptions, extension: Callable[[int], int]) -> Features:
    """What *cpu* comes to on a host of which *extension* tells (KVM_CHECK_EXTENSION).

    Raises:
        InputError: the host lacks what was asked for in so many words.
    """

    def has(asked: bool | None, what: str, *capabilities: int) -> bool:
        offered = all(extension(each) > 0 for each in capabilities)
        if asked and not offered:
            raise InputError(f"--cpu {cpu}: KVM on this host has no {what}")
        return offered if asked is None else asked

    aarch32 = bool(cpu.aarch32) and has(True, "AArch32 at EL1", kvm_abi.CAP_ARM_EL1_32BIT)
    if aarch32:
        cpu = cpu._replace(sve=False, pauth=False, mte=False)
    return Features(
        sve=has(cpu.sve, "SVE", kvm_abi.CAP_ARM_SVE),
        pauth=has(
            cpu.pauth,
            "pointer authentication",
            kvm_abi.CAP_ARM_PTRAUTH_ADDRESS,
            kvm_abi.CAP_ARM_PTRAUTH_GENERIC,
        ),
        pmu=has(cpu.pmu, "PMU for guests", kvm_abi.CAP_ARM_PMU_V3),
        mte=has(cpu.mte, "MTE", kvm_abi.CAP_ARM_MTE),
        aarch32=aarch32,
    )


def initialise(vm: int, vcpus: Sequence[KvmVcpu], cpu: CpuOptions, features: Features) -> int:
    """Make vCPUs of a VM what they are: the first is on, the others wait for PSCI CPU_ON.

    Returns the longest SVE vector's bits, 0 without SVE.

    Raises:
        InputError: the host's vectors cannot have the length that was asked for.
        OSError: KVM failed.
    """
    vector_length = 0
    init = ffi.new("struct kvm_vcpu_init *")
    kvm_abi.ioctl(vm, kvm_abi.ARM_PREFERRED_TARGET, init)
    for vcpu in vcpus:
        init.features[0] = features.init
        if vcpu.index:
            init.features[0] |= kvm_abi.VCPU_POWER_OFF
        kvm_abi.ioctl(vcpu.fd, kvm_abi.ARM_VCPU_INIT, init)
        if features.sve:
            vector_length = set_up_vectors(vcpu, cpu)
    return vector_length


def set_up_vectors(vcpu: KvmVcpu, cpu: CpuOptions) -> int:
    """Give a vCPU with SVE its vector lengths, for ever; the longest, in bits.

    KVM takes all of the host's lengths up to some longest one, and nothing else.

    Raises:
        InputError: the host's vectors cannot have the length that was asked for.
        OSError: KVM failed.
    """
    offered = vcpu.get(VLS)
    lengths = vector_lengths(offered)
    longest = cpu.vector_length or lengths[-1]
    if longest not in lengths:
        these = ", ".join(map(str, lengths))
        raise InputError(f"--cpu {cpu}: SVE vectors on this host may have {these} bits")
    if longest != lengths[-1]:
        vcpu.set(VLS, offered & (1 << longest // QUADWORD) - 1)
    kvm_abi.ioctl(vcpu.fd, kvm_abi.ARM_VCPU_FINALIZE, ffi.new("int *", kvm_abi.FINALIZE_SVE))
    return longest


def start_pmu(vcpus: Sequence[KvmVcpu], intid: int | None) -> None:
    """Start the PMUs, once the interrupt controller is there; *intid* is None without one.

    Raises:
        OSError: KVM failed.
    """
    group = kvm_abi.PMU_V3_CTRL
    for vcpu in vcpus:
        if intid is not None:
            kvm_abi.set_attribute(vcpu.fd, group, kvm_abi.PMU_V3_IRQ, ffi.new("int *", intid))
        kvm_abi.set_attribute(vcpu.fd, group, kvm_abi.PMU_V3_INIT, ffi.NULL)
