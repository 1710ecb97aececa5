"""A ``Machine`` with the mandatory half alone: what any other backend may be.

It passes all on to the fake machine, and offers nothing of what that has besides.
"""

from collections.abc import Mapping, Sequence

from gdbstub.architecture import Register
from gdbstub.machine import Capabilities, DebugRegisters, Listener, Machine, RunMode
from tests.fakes import machine as fake
from tests.fakes.device import Device
from tests.fakes.machine import FakeMachine
from tests.fakes.vcpu import FakeVcpu


class MinimalMachine:
    """No capability at all."""

    capabilities = Capabilities()

    def __init__(self, machine: FakeMachine) -> None:
        self._machine = machine

    @property
    def listener(self) -> Listener:
        return self._machine.listener

    @listener.setter
    def listener(self, listener: Listener) -> None:
        self._machine.listener = listener

    @property
    def vcpus(self) -> Sequence[FakeVcpu]:
        return self._machine.vcpus

    @property
    def breakpoint_slots(self) -> int:
        return self._machine.breakpoint_slots

    @property
    def watchpoint_slots(self) -> int:
        return self._machine.watchpoint_slots

    @property
    def vector_length(self) -> int:
        return self._machine.vector_length

    @property
    def pointer_authentication(self) -> bool:
        return self._machine.pointer_authentication

    @property
    def system_registers(self) -> Sequence[Register]:
        return self._machine.system_registers

    def read_memory(self, ipa: int, length: int) -> bytes:
        return self._machine.read_memory(ipa, length)

    def write_memory(self, ipa: int, data: bytes, *, temporary: bool = False) -> None:
        self._machine.write_memory(ipa, data)

    def arm(self, debug: DebugRegisters) -> None:
        self._machine.arm(debug)

    def resume(self, modes: Mapping[int, RunMode]) -> None:
        self._machine.resume(modes)

    def interrupt(self) -> None:
        self._machine.interrupt()

    def start_exclusive(self, vcpu: int) -> bool:
        return self._machine.start_exclusive(vcpu)

    def end_exclusive(self, vcpu: int) -> None:
        self._machine.end_exclusive(vcpu)

    def close(self) -> None:
        self._machine.close()


def minimal_machine(
    program: bytes, *, vcpus: int = 1, memory: int = 2 << 20, device: Device | None = None
) -> Machine:
    """A machine with *program* at ``BASE``, halted there at EL1 with the MMU off."""
    return MinimalMachine(fake.fake_machine(program, vcpus=vcpus, memory=memory, device=device))


def pend_irq(machine: MinimalMachine, level: bool, vcpu: int = 0) -> None:
    """Have an IRQ pend at a vCPU, or pend no more."""
    machine.vcpus[vcpu].irq = level


def pend_serror(machine: MinimalMachine) -> None:
    """Have an SError pend at vCPU 0, once."""
    machine.vcpus[0].serror = True
