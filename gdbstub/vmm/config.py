"""The configuration of a guest, and the checks of it that need no KVM.

It reads no file and makes no machine.
"""

from typing import NamedTuple

from gdbstub.errors import InputError
from gdbstub.kvm.features import CpuOptions
from gdbstub.vmm import boot, layout
from gdbstub.vmm.image import Guest as Image
from gdbstub.vmm.image import LinuxImage


class GuestConfig(NamedTuple):
    """A guest as it was asked for, files read and checked. ``memory`` is in bytes."""

    image: Image
    memory: int
    vcpus: int = 1
    append: str | None = None
    initrd: bytes | None = None
    dtb: bytes | None = None
    cpu: CpuOptions = CpuOptions()
    kaslr_seed: int | None = None


def check_vcpus(number: int) -> None:
    """Check that a guest can have *number* vCPUs.

    Raises:
        InputError: it cannot.
    """
    limit = layout.Gic.V3.max_cpus
    if not 1 <= number <= limit:
        raise InputError(f"--smp {number}: a guest has 1 to {limit} vCPUs")


def check(config: GuestConfig) -> None:
    """Check without KVM that the guest can be booted.

    Raises:
        InputError: it cannot; the message says why.
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
