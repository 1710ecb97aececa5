"""The board of ``gdbstub run``: a vGIC, a PL011 UART, and the boot state of a guest's image.

It implements ``kvm.board.Board``, and makes no machine.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from gdbstub.aarch64.registers import MPIDR_EL1, PC, X
from gdbstub.kvm import abi
from gdbstub.kvm.abi import ffi
from gdbstub.kvm.board import BoardVm
from gdbstub.kvm.port import IoctlPort, ioctl
from gdbstub.vmm import boot, gic, layout
from gdbstub.vmm.bus import Bus
from gdbstub.vmm.config import GuestConfig
from gdbstub.vmm.image import LinuxImage, RawBinary
from gdbstub.vmm.pl011 import PL011
from gdbstub.vmm.size import format_figure


class VirtBoard:
    """A ``Board`` for the guest of *config*.

    *transmit* gets the bytes that the guest prints, on vCPU threads.
    """

    #: The interrupt of a vCPU's PMU, as the device tree has it.
    pmu_intid: int | None = layout.PMU_INTID

    def __init__(self, config: GuestConfig, transmit: Callable[[bytes], None]) -> None:
        """Begin without devices; ``build`` makes them."""
        self._config = config
        self._transmit = transmit
        self.mmio = Bus()
        self._uart: PL011 | None = None
        self._gic = layout.Gic.V3

    @property
    def about(self) -> Mapping[str, str]:
        """The guest and the devices (``Board.about``)."""
        devices = f"PL011 at {layout.UART_BASE:#x}, arch timer"
        return {
            **_guest(self._config),
            "devices": f"GICv{self._gic.value} at {layout.GICD_BASE:#x}, {devices}",
        }

    def receive(self, data: bytes) -> int:
        """Give typed bytes to the UART; return how many it had room for."""
        return self._uart.receive(data) if self._uart is not None else len(data)

    def close(self) -> None:
        """Remove the UART: bytes typed from now on are dropped."""
        self._uart = None

    def build(self, vm: BoardVm) -> None:
        """Create the vGIC, and the UART in its reset state (``Board.build``)."""
        self._gic = gic.create(vm.port, vm.vm, self._config.vcpus)
        self._uart = PL011(self._transmit, irq_line(vm.port, vm.vm, layout.UART_INTID))
        self.mmio.clear()
        self.mmio.attach(layout.UART_BASE, layout.UART_SIZE, self._uart)

    def boot(self, vm: BoardVm) -> None:
        """Load the image, and set PC and x0 of the first vCPU (``Board.boot``)."""
        config = self._config
        plan = boot.plan(
            config.image,
            memory=config.memory,
            gic=self._gic,
            mpidrs=[vcpu.get(MPIDR_EL1) for vcpu in vm.vcpus],
            append=config.append,
            initrd=config.initrd,
            dtb=config.dtb,
            pmu=vm.features.pmu,
            kaslr_seed=config.kaslr_seed,
        )
        for placement in plan.placements:
            vm.write_memory(placement.ipa, bytes(placement.data))
        first = vm.vcpus[0]
        first.set(PC, plan.pc)
        first.set(X[0], plan.x0)


def _guest(config: GuestConfig) -> dict[str, str]:
    """Describe the guest for a person."""
    image = config.image
    name = Path(image.name).name
    if isinstance(image, RawBinary):
        return {"guest": f"raw binary, {name}, at {image.address:#x}"}
    if not isinstance(image, LinuxImage):
        moved = f", moved by {image.offset:#x}" if image.offset else ""
        return {"guest": f"ELF, {name}, entry {image.entry + image.offset:#x}{moved}"}
    about = {
        "guest": f"Linux, {name}, {format_figure(image.image_size)}",
        "arguments": config.append or "(none)",
    }
    if config.kaslr_seed is not None:
        about["kaslr-seed"] = f"{config.kaslr_seed:#x}"
    return about


def irq_line(port: IoctlPort, vm: int, intid: int) -> Callable[[bool], None]:
    """Return a function that sets the level of a shared interrupt, from any thread.

    It raises ``MachineError`` if KVM_IRQ_LINE fails.
    """
    line = ffi.new("struct kvm_irq_level *")
    line.irq = abi.IRQ_TYPE_SPI | intid

    def set_level(level: bool) -> None:
        line.level = level
        ioctl(port, vm, abi.IRQ_LINE, line)

    return set_level
