"""A machine with a random program in it, and all that is compared of it at its end."""

from dataclasses import dataclass
from typing import Final

from gdbstub.aarch64.registers import (
    CPSR,
    ELR_EL1,
    ESR_EL1,
    FAR_EL1,
    FPCR,
    FPSR,
    PC,
    SP_EL0,
    SP_EL1,
    SPSR_EL1,
    SYSTEM_REGISTERS,
    VBAR_EL1,
    V,
    X,
)
from gdbstub.architecture import Register
from gdbstub.errors import NoSuchRegister
from gdbstub.machine import Machine
from gdbstub.swbp import BRK
from tests.contract.backends import Backend
from tests.contract.programs import BASE
from tests.soak.program import DEVICE, MEMORY, UNSEEN, Program

_COMPARED: Final[tuple[Register, ...]] = (
    *X, PC, CPSR, SP_EL0, SP_EL1, ELR_EL1, SPSR_EL1, ESR_EL1, FAR_EL1, VBAR_EL1, FPSR, FPCR, *V,
    *(SYSTEM_REGISTERS[name] for name in ("SCTLR_EL1", "CPACR_EL1", "TPIDR_EL0", "TPIDR_EL1")),
)  # fmt: skip


class _Lines:
    """Device by which a guest pends interrupts: vCPU *n*'s, while the word at 8 * *n* is not 0."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.machine: Machine | None = None

    def read(self, ipa: int, size: int) -> int:
        return 0

    def write(self, ipa: int, size: int, value: int) -> None:
        if self.machine is not None and 0 <= (index := (ipa - DEVICE) // 8) < 8:
            self._backend.pend_irq(self.machine, bool(value), index)


def load(backend: Backend, program: Program) -> Machine:
    """A new machine with *program*, halted at its first instruction."""
    lines = _Lines(backend)
    machine = backend.load()(b"", vcpus=len(program.bodies), memory=MEMORY, device=lines)
    lines.machine = machine
    for gva, data in program.segments():
        machine.write_memory(gva, data)
    return machine


@dataclass(frozen=True, slots=True)
class State:
    """Registers of every vCPU by name, and RAM without what is not to be compared."""

    registers: tuple[dict[str, int], ...]
    memory: bytes

    @classmethod
    def of(cls, machine: Machine) -> "State":
        """Read it, all vCPUs being at rest."""
        return cls(
            tuple(
                {row.name: value for row in _COMPARED if (value := _read(machine, n, row)) >= 0}
                for n in range(len(machine.vcpus))
            ),
            machine.read_memory(BASE, UNSEEN - BASE),
        )

    def differences(self, right: "State") -> list[str]:
        """Return a line for each difference from *right*, the state of the undebugged run."""
        found = [
            f"vCPU {n} {name} is {own[name]:#x}, undebugged {value:#x}"
            for n, (own, other) in enumerate(zip(self.registers, right.registers, strict=True))
            for name, value in other.items()
            if own[name] != value
        ]
        if self.memory != right.memory:
            for at in range(0, len(right.memory), 8):
                own, other = self.memory[at : at + 8], right.memory[at : at + 8]
                if own != other:
                    found.append(
                        f"memory at {BASE + at:#x} is {own.hex()}, undebugged {other.hex()}"
                    )
        return found

    def own_brks(self) -> list[str]:
        """Return a line for a BRK of the debugger's that is left in RAM."""
        at = self.memory.find(BRK)
        return [f"a BRK is left at {BASE + at:#x}"] if at >= 0 else []


def _read(machine: Machine, index: int, row: Register) -> int:
    try:
        return machine.vcpus[index].get(row)
    except NoSuchRegister:
        return -1


def unseen(machine: Machine, vcpu: int, word: int) -> int:
    """Return a vCPU's count from the memory that is not compared."""
    data = machine.read_memory(UNSEEN + 0x1000 * vcpu + 8 * word, 8)
    return int.from_bytes(data, "little")
