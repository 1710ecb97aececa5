"""Board: what a KVM machine consists of besides vCPUs and RAM, as typed protocols.

A board has the interrupt controller, the devices, a description of them, and the state that the
guest boots with. It runs no vCPU.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from gdbstub.kvm.features import Features
from gdbstub.kvm.port import IoctlPort
from gdbstub.kvm.vcpu_state import VcpuState


class Mmio(Protocol):
    """Memory-mapped I/O: every guest physical address without RAM. Called on vCPU threads."""

    def read(self, ipa: int, size: int) -> int:
        """Load *size* bytes (1, 2, 4 or 8) at *ipa*, as a little-endian number."""
        ...

    def write(self, ipa: int, size: int, value: int) -> None:
        """Store *value* in *size* bytes (1, 2, 4 or 8) at *ipa*."""
        ...


class BoardVm(Protocol):
    """The VM that a board is built into: vCPUs created and initialised, none has run yet."""

    @property
    def port(self) -> IoctlPort:
        """The port for ioctls of the VM and its vCPUs."""
        ...

    @property
    def vm(self) -> int:
        """The VM's file descriptor."""
        ...

    @property
    def vcpus(self) -> Sequence[VcpuState]:
        """The vCPUs, by index."""
        ...

    @property
    def features(self) -> Features:
        """The features of the vCPUs."""
        ...

    def write_memory(self, ipa: int, data: bytes) -> None:
        """Write RAM, all of it zero at first.

        Raises:
            MemoryFault: not all of it is RAM; nothing was written.
        """
        ...


class Board(Protocol):
    """Everything of a machine besides vCPUs and RAM.

    At the start, and at each reset with a new VM, the machine calls ``build`` and then ``boot``.
    State to save and restore later is the board's too.
    """

    @property
    def mmio(self) -> Mmio:
        """The devices; one object for the board's whole life."""
        ...

    @property
    def about(self) -> Mapping[str, str]:
        """A description for a person: a subject, such as ``devices``, to one line."""
        ...

    @property
    def pmu_intid(self) -> int | None:
        """The interrupt number of a vCPU's PMU; None without an interrupt controller."""
        ...

    def build(self, vm: BoardVm) -> None:
        """Create the interrupt controller in *vm*, and put the devices into their reset state.

        Raises:
            InputError: this host cannot give a guest such a board.
            MachineError: KVM failed.
        """
        ...

    def boot(self, vm: BoardVm) -> None:
        """Write the RAM and the registers that the guest starts with.

        Raises:
            InputError: the guest does not fit.
            MachineError: KVM failed.
        """
        ...
