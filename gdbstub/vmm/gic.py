"""The in-kernel interrupt controller: a vGICv3, or a vGICv2 where the host has only that.

Source: linux/Documentation/virt/kvm/devices/arm-vgic.rst and arm-vgic-v3.rst.
"""

import errno
import os

from gdbstub.errors import InputError, MachineError
from gdbstub.kvm import abi
from gdbstub.kvm.abi import ffi
from gdbstub.kvm.port import IoctlPort, ioctl, set_attribute
from gdbstub.vmm import layout
from gdbstub.vmm.layout import Gic

_DEVICES = {Gic.V3: abi.DEV_ARM_VGIC_V3, Gic.V2: abi.DEV_ARM_VGIC_V2}


def offers(port: IoctlPort, vm: int, gic: Gic) -> bool:
    """Return True if this host can give a guest such a controller.

    Raises:
        MachineError: KVM failed.
    """
    device = ffi.new("struct kvm_create_device *")
    device.type = _DEVICES[gic]
    device.flags = abi.CREATE_DEVICE_TEST
    try:
        ioctl(port, vm, abi.CREATE_DEVICE, device)
    except MachineError as error:
        if error.errno != errno.ENODEV:
            raise
        return False
    return True


def create(port: IoctlPort, vm: int, vcpus: int) -> Gic:
    """Create the best controller that the host offers, when all vCPUs exist.

    Raises:
        InputError: there is none, or none for so many vCPUs.
        MachineError: KVM failed.
    """
    offered = [gic for gic in (Gic.V3, Gic.V2) if offers(port, vm, gic)]
    if not offered:
        raise InputError("this host's KVM offers no GICv3 and no GICv2")
    kind = next((gic for gic in offered if vcpus <= gic.max_cpus), None)
    if kind is None:
        raise InputError(
            f"--smp {vcpus}: the {offered[0].name} interrupt controller of this host "
            f"serves at most {offered[0].max_cpus}"
        )
    device = ffi.new("struct kvm_create_device *")
    device.type = _DEVICES[kind]
    ioctl(port, vm, abi.CREATE_DEVICE, device)
    try:
        _configure(port, device.fd, kind)
    finally:
        os.close(device.fd)  # the device lives as long as the VM does
    return kind


def _configure(port: IoctlPort, fd: int, kind: Gic) -> None:
    if kind is Gic.V3:
        addresses = {
            abi.VGIC_V3_ADDR_DIST: layout.GICD_BASE,
            abi.VGIC_V3_ADDR_REDIST: layout.GICR_BASE,
        }
    else:
        addresses = {
            abi.VGIC_V2_ADDR_DIST: layout.GICD_BASE,
            abi.VGIC_V2_ADDR_CPU: layout.GICC_BASE,
        }
    for attribute, address in addresses.items():
        set_attribute(port, fd, abi.VGIC_GRP_ADDR, attribute, ffi.new("uint64_t *", address))
    set_attribute(port, fd, abi.VGIC_GRP_NR_IRQS, 0, ffi.new("uint32_t *", layout.NR_IRQS))
    set_attribute(port, fd, abi.VGIC_GRP_CTRL, abi.VGIC_CTRL_INIT, ffi.NULL)
