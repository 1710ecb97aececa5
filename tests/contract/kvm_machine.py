"""The contract's factory over real KVM: RAM, vCPUs and nothing else."""

from gdbstub.aarch64.registers import CPSR, PC
from gdbstub.kvm import abi as kvm_abi
from gdbstub.kvm.features import CpuOptions
from gdbstub.kvm_backend import KvmConfig, KvmMachine
from tests.contract.programs import BASE

_PSTATE = 0x3C5


class Nothing:
    """No device: reads are 0, writes are lost."""

    def read(self, ipa: int, size: int) -> int:
        return 0

    def write(self, ipa: int, size: int, value: int) -> None:
        pass


def kvm_machine(
    program: bytes,
    *,
    vcpus: int = 1,
    memory: int = 2 << 20,
    cpu: CpuOptions = CpuOptions(),  # noqa: B008 - frozen
) -> KvmMachine:
    def populate(machine: KvmMachine) -> None:
        machine.write_memory(BASE, program)
        machine.vcpus[0].set(PC, BASE)
        if not cpu.aarch32:
            machine.vcpus[0].set(CPSR, _PSTATE)

    return KvmMachine(KvmConfig(vcpus, BASE, memory, Nothing(), populate, cpu=cpu))


def pend_irq(machine: KvmMachine, level: bool) -> None:
    """Have an IRQ pend at vCPU 0, or pend no more: its input line, for there is no GIC.

    linux/Documentation/virt/kvm/api.rst, 4.25: type 0 is a CPU's line, number 0 its IRQ.
    """
    line = kvm_abi.ffi.new("struct kvm_irq_level *")
    line.level = level
    kvm_abi.ioctl(machine.vm, kvm_abi.IRQ_LINE, line)


def pend_serror(machine: KvmMachine) -> None:
    """Have an SError pend at vCPU 0, once (api.rst, 4.32 KVM_SET_VCPU_EVENTS)."""
    events = kvm_abi.ffi.new("struct kvm_vcpu_events *")
    kvm_abi.ioctl(machine.vcpus[0].fd, kvm_abi.GET_VCPU_EVENTS, events)
    events.serror_pending = 1
    kvm_abi.ioctl(machine.vcpus[0].fd, kvm_abi.SET_VCPU_EVENTS, events)
