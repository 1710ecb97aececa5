"""The contract's factory over real KVM: RAM, vCPUs and nothing else."""

from collections.abc import Mapping
from types import MappingProxyType

from gdbstub.aarch64.registers import CPSR, PC
from gdbstub.aarch64.sysreg import PSTATE
from gdbstub.kvm import abi
from gdbstub.kvm.board import BoardVm
from gdbstub.kvm.features import CpuOptions
from gdbstub.kvm.port import LOCAL, IoctlPort, ioctl
from gdbstub.kvm_backend import KvmConfig, KvmMachine
from tests.contract.programs import BASE
from tests.fakes.device import Device, Nothing

_PSTATE = 0x3C5


class BareBoard:
    """A board without an interrupt controller and devices, that boots a program."""

    about: Mapping[str, str] = MappingProxyType({})
    pmu_intid: int | None = None

    def __init__(
        self, program: bytes, *, pstate: int | None = _PSTATE, device: Device | None = None
    ) -> None:
        self._program = program
        self._pstate = pstate
        self.mmio = device or Nothing()

    def build(self, vm: BoardVm) -> None:
        pass

    def boot(self, vm: BoardVm) -> None:
        vm.write_memory(BASE, self._program)
        vm.vcpus[0].set(PC, BASE)
        if self._pstate is not None:
            vm.vcpus[0].set(CPSR, self._pstate)


def kvm_machine(
    program: bytes,
    *,
    vcpus: int = 1,
    memory: int = 2 << 20,
    cpu: CpuOptions = CpuOptions(),  # noqa: B008 - frozen
    port: IoctlPort = LOCAL,
    device: Device | None = None,
) -> KvmMachine:
    board = BareBoard(program, pstate=None if cpu.aarch32 else _PSTATE, device=device)
    return KvmMachine(KvmConfig(vcpus, BASE, memory, cpu), board, port)


def pend_irq(machine: KvmMachine, level: bool, vcpu: int = 0) -> None:
    """Have an IRQ pend at a vCPU, or pend no more: its input line, for there is no GIC.

    linux/Documentation/virt/kvm/api.rst, 4.25: type 0 is a CPU's line, number 0 its IRQ;
    bits 16 and up are the vCPU.
    """
    line = abi.ffi.new("struct kvm_irq_level *")
    line.irq, line.level = vcpu << 16, level
    ioctl(LOCAL, machine.vm, abi.IRQ_LINE, line)


def pend_serror(machine: KvmMachine) -> None:
    """Have an SError pend at vCPU 0, once (api.rst, 4.32 KVM_SET_VCPU_EVENTS).

    Newer kernels take one that is not masked themselves, at once: so it pends under a mask.
    """
    vcpu = machine.vcpus[0]
    pstate = vcpu.get(CPSR)
    vcpu.set(CPSR, PSTATE(pstate).replace(A=1))
    events = abi.ffi.new("struct kvm_vcpu_events *")
    ioctl(LOCAL, vcpu.fd, abi.GET_VCPU_EVENTS, events)
    events.serror_pending = 1
    ioctl(LOCAL, vcpu.fd, abi.SET_VCPU_EVENTS, events)
    vcpu.set(CPSR, pstate)
