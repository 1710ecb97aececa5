"""The contract's factory over real KVM: RAM, vCPUs and nothing else."""

from gdbstub.aarch64.registers import CPSR, PC
from gdbstub.kvm import abi as kvm_abi
from gdbstub.kvm.features import CpuOptions
from gdbstub.kvm_backend import KvmConfig, KvmMachine
from tests.contract.programs import BASE
from tests.fakes.device import Device, Nothing

_PSTATE = 0x3C5


def kvm_machine(
    program: bytes,
    *,
    vcpus: int = 1,
    memory: int = 2 << 20,
    cpu: CpuOptions = CpuOptions(),  # noqa: B008 - frozen
    device: Device | None = None,
) -> KvmMachine:
    def populate(machine: KvmMachine) -> None:
        machine.write_memory(BASE, program)
        machine.vcpus[0].set(PC, BASE)
        if not cpu.aarch32:
            machine.vcpus[0].set(CPSR, _PSTATE)

    return KvmMachine(KvmConfig(vcpus, BASE, memory, device or Nothing(), populate, cpu=cpu))


def pend_irq(machine: KvmMachine, level: bool, vcpu: int = 0) -> None:
    """Have an IRQ pend at a vCPU, or pend no more: its input line, for there is no GIC.

    linux/Documentation/virt/kvm/api.rst, 4.25: type 0 is a CPU's line, number 0 its IRQ;
    bits 16 and up are the vCPU.
    """
    line = kvm_abi.ffi.new("struct kvm_irq_level *")
    line.irq, line.level = vcpu << 16, level
    kvm_abi.ioctl(machine.vm, kvm_abi.IRQ_LINE, line)
