"""vCPU features: the argument of ``--cpu``, the features that the host has, and their ioctls.

It makes no vCPU and runs none. Source: linux/Documentation/virt/kvm/api.rst, 4.82
(KVM_ARM_VCPU_INIT), 4.119 (KVM_ARM_VCPU_FINALIZE), and devices/vcpu.rst, 1 (the PMU).
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from gdbstub.aarch64.sve import MAX_BITS, QUADWORD, VLS, vector_lengths
from gdbstub.errors import InputError
from gdbstub.kvm import abi
from gdbstub.kvm.abi import ffi
from gdbstub.kvm.one_reg import OneReg
from gdbstub.kvm.port import IoctlPort, ioctl, set_attribute

_SWITCH: Final = {"on": True, "off": False}
_SPELLED: Final = {value: word for word, value in _SWITCH.items()}
#: The most digits of a vector length; longer ones are not converted.
_DIGITS: Final = 4


class CpuOptions(NamedTuple):
    """Features asked of the vCPUs; None: as the host has it.

    ``aarch32`` is AArch32 at EL1, off unless it is asked for; programs at EL0 need no option
    for it. ``vector_length`` is the length of the longest SVE vector, in bits.
    """

    sve: bool | None = None
    pauth: bool | None = None
    pmu: bool | None = None
    mte: bool | None = None
    aarch32: bool | None = None
    vector_length: int | None = None

    def __str__(self) -> str:
        """The text that ``--cpu`` takes."""
        words = ["host"]
        for name in _NAMES:
            if (value := getattr(self, name)) is not None:
                words.append(f"{name}={_SPELLED[value]}")
        if self.vector_length is not None:
            words[1] = f"sve={self.vector_length}"
        return ",".join(words)


_NAMES: Final = [name for name in CpuOptions._fields if name != "vector_length"]


def parse_cpu(text: str) -> CpuOptions:
    """Parse the argument of ``--cpu``: ``host``, then ``feature=on|off``, separated by commas.

    Raises:
        InputError: *text* is not of that form; the message says what is.
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
    """Features of the vCPUs of one VM."""

    sve: bool = False
    pauth: bool = False
    pmu: bool = False
    #: Memory tags: a feature of the VM, enabled before it has vCPUs.
    mte: bool = False
    aarch32: bool = False

    @property
    def init(self) -> int:
        """``kvm_vcpu_init.features[0]``."""
        bits = abi.VCPU_PSCI_0_2
        if self.sve:
            bits |= abi.VCPU_SVE
        if self.pauth:  # KVM has both or none
            bits |= abi.VCPU_PTRAUTH_ADDRESS | abi.VCPU_PTRAUTH_GENERIC
        if self.pmu:
            bits |= abi.VCPU_PMU_V3
        if self.aarch32:
            bits |= abi.VCPU_EL1_32BIT
        return bits


def choose(cpu: CpuOptions, extension: Callable[[int], int]) -> Features:
    """Choose the features that *cpu* asks for and the host has.

    *extension* is KVM_CHECK_EXTENSION of a capability.

    Raises:
        InputError: the host lacks a feature that *cpu* switches on.
    """

    def has(asked: bool | None, what: str, *capabilities: int) -> bool:
        offered = all(extension(each) > 0 for each in capabilities)
        if asked and not offered:
            raise InputError(f"--cpu {cpu}: KVM on this host has no {what}")
        return offered if asked is None else asked

    aarch32 = bool(cpu.aarch32) and has(True, "AArch32 at EL1", abi.CAP_ARM_EL1_32BIT)
    if aarch32:
        cpu = cpu._replace(sve=False, pauth=False, mte=False)
    return Features(
        sve=has(cpu.sve, "SVE", abi.CAP_ARM_SVE),
        pauth=has(
            cpu.pauth,
            "pointer authentication",
            abi.CAP_ARM_PTRAUTH_ADDRESS,
            abi.CAP_ARM_PTRAUTH_GENERIC,
        ),
        pmu=has(cpu.pmu, "PMU for guests", abi.CAP_ARM_PMU_V3),
        mte=has(cpu.mte, "MTE", abi.CAP_ARM_MTE),
        aarch32=aarch32,
    )


def initialise(
    port: IoctlPort, vm: int, vcpus: Sequence[OneReg], cpu: CpuOptions, features: Features
) -> int:
    """Initialise the vCPUs of a VM: the first is on, the others wait for PSCI CPU_ON.

    Returns the longest SVE vector's bits, 0 without SVE.

    Raises:
        InputError: the host's vectors cannot have the length that was asked for.
        MachineError: KVM failed.
    """
    vector_length = 0
    init = ffi.new("struct kvm_vcpu_init *")
    ioctl(port, vm, abi.ARM_PREFERRED_TARGET, init)
    for index, vcpu in enumerate(vcpus):
        init.features[0] = features.init
        if index:
            init.features[0] |= abi.VCPU_POWER_OFF
        ioctl(port, vcpu.fd, abi.ARM_VCPU_INIT, init)
        if features.sve:
            vector_length = set_up_vectors(vcpu, cpu)
    return vector_length


def set_up_vectors(vcpu: OneReg, cpu: CpuOptions) -> int:
    """Set the vector lengths of a vCPU with SVE, once; return the longest, in bits.

    KVM takes all of the host's lengths up to some longest one, and nothing else.

    Raises:
        InputError: the host's vectors cannot have the length that was asked for.
        MachineError: KVM failed.
    """
    offered = vcpu.get(VLS)
    lengths = vector_lengths(offered)
    longest = cpu.vector_length or lengths[-1]
    if longest not in lengths:
        these = ", ".join(map(str, lengths))
        raise InputError(f"--cpu {cpu}: SVE vectors on this host may have {these} bits")
    if longest != lengths[-1]:
        vcpu.set(VLS, offered & (1 << longest // QUADWORD) - 1)
    ioctl(vcpu.port, vcpu.fd, abi.ARM_VCPU_FINALIZE, ffi.new("int *", abi.FINALIZE_SVE))
    return longest


def start_pmu(vcpus: Sequence[OneReg], intid: int | None) -> None:
    """Start the PMUs, behind the interrupt controller; *intid* is None without one.

    Raises:
        MachineError: KVM failed.
    """
    group = abi.PMU_V3_CTRL
    for vcpu in vcpus:
        if intid is not None:
            set_attribute(vcpu.port, vcpu.fd, group, abi.PMU_V3_IRQ, ffi.new("int *", intid))
        set_attribute(vcpu.port, vcpu.fd, group, abi.PMU_V3_INIT, ffi.NULL)
