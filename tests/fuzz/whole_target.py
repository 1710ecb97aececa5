"""The fake target with all that a target may offer, for packets that are nothing else's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gdbstub.aarch64.registers import PC, SP, X
from gdbstub.architecture import Register
from gdbstub.capabilities import (
    AddressBits,
    HasGuestThreads,
    HasLibraries,
    InterruptsInSteps,
    Library,
    MemoryMapping,
    MemoryRegion,
    OsTable,
    OsTables,
    Relocatable,
    Relocation,
)
from gdbstub.errors import NoSuchRegister, RegisterRefused
from gdbstub.target import Thread
from tests.pure.able_target import AbleTarget
from tests.pure.fake_target import BASE, SIZE

#: A thread of the guest's own, and the registers that are known of it.
_TASK: Final = 10_000_042
_KNOWN: Final = {X[19], X[29], SP, PC}
_TABLES: Final = (OsTable("tasks", "Tasks", "Processes", lambda: [{"pid": "1", "name": "<a>"}]),)
_LIBRARIES: Final = (Library("/lib/<m>.ko", (BASE, BASE + 0x100)), Library("/\udcff.ko", ()))


@dataclass
class WholeTarget(
    AbleTarget,
    MemoryMapping,
    AddressBits,
    InterruptsInSteps,
    OsTables,
    HasLibraries,
    HasGuestThreads,
    Relocatable,
):
    """A target with every capability."""

    irqs: bool = False

    @property
    def step_irqs(self) -> bool:
        return self.irqs

    @step_irqs.setter
    def step_irqs(self, wanted: bool) -> None:
        self.irqs = wanted

    @property
    def os_tables(self) -> Sequence[OsTable]:
        return _TABLES

    def region(self, thread: int, gva: int) -> MemoryRegion:
        self._meet_trouble()
        if gva in range(BASE, BASE + SIZE):
            return MemoryRegion(BASE, SIZE, "rwx")
        return MemoryRegion(0, BASE) if gva < BASE else MemoryRegion(BASE + SIZE, 1 << 40)

    def address_bits(self, thread: int) -> tuple[int, int] | None:
        return (48, 52) if thread == 1 else None

    def libraries(self) -> Sequence[Library]:
        self._meet_trouble()
        return _LIBRARIES

    def guest_threads(self) -> Sequence[Thread]:
        self._meet_trouble()
        return [Thread(_TASK, None, "a<b", "PID 42, state S")]

    def relocation(self) -> Relocation | None:
        return Relocation(BASE, 0x1000)

    def read_registers(self, thread: int, registers: Sequence[Register]) -> bytes:
        if thread != _TASK:
            return super().read_registers(thread, registers)
        if not _KNOWN.issuperset(registers):
            raise NoSuchRegister("the kernel keeps none")
        return bytes(8 * len(registers))

    def write_register(self, thread: int, register: Register, data: bytes) -> None:
        if thread == _TASK:
            raise RegisterRefused("its registers are only read")
        super().write_register(thread, register, data)
