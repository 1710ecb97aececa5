"""A whole guest on KVM: a ``KvmMachine`` with the board of ``gdbstub run``.

It serves no client; ``VmmGuest.machine`` is the machine to debug.
"""

from collections.abc import Callable

from gdbstub.kvm_backend import KvmConfig, KvmMachine
from gdbstub.vmm import layout
from gdbstub.vmm.board import VirtBoard
from gdbstub.vmm.config import GuestConfig


class VmmGuest:
    """The machine and the board of one guest; ``close`` releases both."""

    def __init__(self, config: GuestConfig, transmit: Callable[[bytes], None]) -> None:
        """Make the machine, halted at the guest's first instruction.

        *transmit* gets the bytes that the guest prints, on vCPU threads.

        Raises:
            InputError: the guest cannot be what was asked for on this host.
            MachineError: KVM failed.
        """
        self._board = VirtBoard(config, transmit)
        self.machine = KvmMachine(
            KvmConfig(
                vcpus=config.vcpus,
                ram_base=layout.RAM_BASE,
                ram_size=config.memory,
                cpu=config.cpu,
            ),
            self._board,
        )

    def receive(self, data: bytes) -> int:
        """Give typed bytes to the guest's UART; return how many it had room for."""
        return self._board.receive(data)

    def close(self) -> None:
        """End the guest."""
        self._board.close()
        self.machine.close()
