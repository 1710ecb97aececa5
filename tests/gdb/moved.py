"""The rings' guest as if it were a kernel that has moved itself above where it was linked."""

from pathlib import Path
from typing import Final

from gdbstub.aarch64.registers import PC, VBAR_EL1
from gdbstub.linux.kaslr import GuestProgram, LinkedKernel
from tests.fakes.machine import FakeMachine
from tests.gdb.build import BuiltGuest

LINKED: Final = 0x4000_0000
OFFSET: Final = 0x3_0000


def program(guest: BuiltGuest) -> GuestProgram:
    """Build a program whose first bytes are its banner and whose first address is its vectors'."""
    kernel = LinkedKernel(
        start=LINKED,
        vectors=(LINKED,),
        banner_at=LINKED,
        banner=guest.image[:64].decode("latin-1"),
        start_kernel=LINKED,
    )
    return GuestProgram(str(Path(guest.elf).absolute()), kernel)


def moved_machine(
    guest: BuiltGuest, offset: int = OFFSET, *, vectors_are_set: bool = True
) -> FakeMachine:
    """Return a machine at its first instruction, the program *offset* above its link address."""

    def load(machine: FakeMachine) -> None:
        machine.write_memory(LINKED + offset, guest.image)
        machine.vcpus[0].set(PC, LINKED + offset)
        if vectors_are_set:
            machine.vcpus[0].set(VBAR_EL1, LINKED + offset)

    return FakeMachine(load)
