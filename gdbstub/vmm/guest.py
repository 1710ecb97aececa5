"""A whole guest on KVM: the machine with its interrupt controller, UART and boot state.

It serves no client; ``Guest.machine`` is what a debugger takes hold of.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from gdbstub.aarch64.registers import MPIDR_EL1, PC, X
from gdbstub.errors import InputError, MachineError
from gdbstub.kvm import abi as kvm_abi
from gdbstub.kvm.abi import ffi
from gdbstub.kvm.features import CpuOptions
from gdbstub.kvm_backend import KvmConfig, KvmMachine
from gdbstub.vmm import boot, gic, layout
from gdbstub.vmm.bus import Bus
from gdbstub.vmm.image import Guest as Image
from gdbstub.vmm.image import LinuxImage
from gdbstub.vmm.pl011 import PL011
from gdbstub.vmm.size import format_figure


class GuestConfig(NamedTuple):
    """What a person asked for, files read and checked. ``memory`` is in bytes."""

    image: Image
    memory: int
    vcpus: int = 1
    append: str | None = None
    initrd: bytes | None = None
    dtb: bytes | None = None
    cpu: CpuOptions = CpuOptions()
    kaslr_seed: int | None = None


class Guest:
    """Owns the machine; ``close`` gives everything back."""

    def __init__(self, config: GuestConfig, transmit: Callable[[bytes], None]) -> None:
        """Make the machine, halted at the guest's first instruction.

        *transmit* gets what the guest prints, on vCPU threads.

        Raises:
            InputError: the guest cannot be what was asked for on this host.
            MachineError: KVM failed.
        """
        self._config = config
        self._transmit = transmit
        self._bus = Bus()
        self._uart: PL011 | None = None
        self._about = _about(config)
        self.machine = KvmMachine(
            KvmConfig(
                vcpus=config.vcpus,
                ram_base=layout.RAM_BASE,
                ram_size=config.memory,
                mmio=self._bus,
                populate=self._populate,
                about=self._about,
                cpu=config.cpu,
                pmu_intid=layout.PMU_INTID,
            )
        )

    def receive(self, data: bytes) -> int:
        """Give the guest's UART what was typed; how many bytes it had room for."""
        return self._uart.receive(data) if self._uart is not None else len(data)

    def close(self) -> None:
        """End the guest."""
        self._uart = None
        self.machine.close()

    def _populate(self, machine: KvmMachine) -> None:
        config = self._config
        kind = gic.create(machine.vm, config.vcpus)
        self._about["devices"] = (
            f"GICv{kind.value} at {layout.GICD_BASE:#x}, PL011 at {layout.UART_BASE:#x}, arch timer"
        )
        self._uart = PL011(self._transmit, _irq_line(machine.vm, layout.UART_INTID))
        self._bus.clear()
        self._bus.attach(layout.UART_BASE, layout.UART_SIZE, self._uart)
        plan = boot.plan(
            config.image,
            memory=config.memory,
            gic=kind,
            mpidrs=[vcpu.get(MPIDR_EL1) for vcpu in machine.vcpus],
            append=config.append,
            initrd=config.initrd,
            dtb=config.dtb,
            pmu=machine.features.pmu,
            kaslr_seed=config.kaslr_seed,
        )
        for placement in plan.placements:
            machine.write_memory(placement.ipa, bytes(placement.data))
        first = machine.vcpus[0]
        first.set(PC, plan.pc)
        first.set(X[0], plan.x0)


def check_vcpus(number: int) -> None:
    """See whether a guest can have so many vCPUs at all.

    Raises:
        InputError: it cannot.
    """
    limit = layout.Gic.V3.max_cpus
    if not 1 <= number <= limit:
        raise InputError(f"--smp {number}: a guest has 1 to {limit} vCPUs")


def check(config: GuestConfig) -> None:
    """Find out without KVM whether the guest could be booted.

    Raises:
        InputError: it could not, and why.
    """
    check_vcpus(config.vcpus)
    if config.cpu.aarch32 and isinstance(config.image, LinuxImage):
        raise InputError(f"--cpu {config.cpu}: {config.image.name} is a 64-bit kernel")
    boot.plan(
        config.image,
        memory=config.memory,
        gic=layout.Gic.V3,
        mpidrs=list(range(config.vcpus)),
        append=config.append,
        initrd=config.initrd,
        dtb=config.dtb,
        pmu=config.cpu.pmu is not False,
        kaslr_seed=config.kaslr_seed,
    )


def _about(config: GuestConfig) -> dict[str, str]:
    """What a person would ask of the guest first."""
    image = config.image
    name = Path(image.name).name
    if isinstance(image, LinuxImage):
        about = {
            "guest": f"Linux, {name}, {format_figure(image.image_size)}",
            "arguments": config.append or "(none)",
        }
        if config.kaslr_seed is not None:
            about["kaslr-seed"] = f"{config.kaslr_seed:#x}"
        return about
    return {"guest": f"ELF, {name}, entry {image.entry:#x}"}


def _irq_line(vm: int, intid: int) -> Callable[[bool], None]:
    """What sets the level of a shared interrupt; may be called from any thread."""
    line = ffi.new("struct kvm_irq_level *")
    line.irq = kvm_abi.IRQ_TYPE_SPI | intid

    def set_level(level: bool) -> None:
        line.level = level
        try:
            kvm_abi.ioctl(vm, kvm_abi.IRQ_LINE, line)
        except OSError as error:
            raise MachineError(f"KVM_IRQ_LINE: {error.strerror}", error.errno or 0) from error

    return set_level
