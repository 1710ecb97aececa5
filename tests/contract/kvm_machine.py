"""The contract's factory over real KVM: RAM, vCPUs and nothing else."""

from gdbstub.aarch64.registers import CPSR, PC
from gdbstub.kvm_backend import KvmConfig, KvmMachine
from tests.contract.programs import BASE

_PSTATE = 0x3C5


class Nothing:
    """No device: reads are 0, writes are lost."""

    def read(self, ipa: int, size: int) -> int:
        return 0

    def write(self, ipa: int, size: int, value: int) -> None:
        pass


def kvm_machine(program: bytes, *, vcpus: int = 1, memory: int = 2 << 20) -> KvmMachine:
    def populate(machine: KvmMachine) -> None:
        machine.write_memory(BASE, program)
        machine.vcpus[0].set(PC, BASE)
        machine.vcpus[0].set(CPSR, _PSTATE)

    return KvmMachine(KvmConfig(vcpus, BASE, memory, Nothing(), populate))
