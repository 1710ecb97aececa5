"""The in-kernel interrupt controller: a vGICv3, or a vGICv2 where the host has only that.

Source: linux/Documentation/virt/kvm/devices/arm-vgic.rst and arm-vgic-v3.rst.
"""

import os

from gdbstub.errors import InputError
from gdbstub.kvm import abi as kvm_abi
from gdbstub.kvm.abi import ffi
from gdbstub.vmm import layout
from gdbstub.vmm.layout import Gic

_DEVICES = {Gic.V3: kvm_abi.DEV_ARM_VGIC_V3, Gic.V2: kvm_abi.DEV_ARM_VGIC_V2}


def offers(vm: int, gic: Gic) -> bool:
    """Whether this host can give a guest such a controller."""
    device = ffi.new("struct kvm_create_device *")
    device.type = _DEVICES[gic]
    device.flags = kvm_abi.CREATE_DEVICE_TEST
    try:
        kvm_abi.ioctl(vm, kvm_abi.CREATE_DEVICE, device)
    except OSError:
        return False
    return True


def create(vm: int, vcpus: int) -> Gic:
    """Create the best controller that the host offers; the vCPUs exist, and none comes later.

    Raises:
        InputError: there is none, or none for so many vCPUs.
        OSError: KVM failed.
    """
    offered = [gic for gic in (Gic.V3, Gic.V2) if offers(vm, gic)]
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
    kvm_abi.ioctl(vm, kvm_abi.CREATE_DEVICE, device)
    try:
        _configure(device.fd, kind)
    finally:
        os.close(device.fd)  # the device lives as long as the VM does
    return kind


def _configure(fd: int, kind: Gic) -> None:
    if kind is Gic.V3:
        addresses = {
            kvm_abi.VGIC_V3_ADDR_DIST: layout.GICD_BASE,
            kvm_abi.VGIC_V3_ADDR_REDIST: layout.GICR_BASE,
        }
    else:
        addresses = {
            kvm_abi.VGIC_V2_ADDR_DIST: layout.GICD_BASE,
            kvm_abi.VGIC_V2_ADDR_CPU: layout.GICC_BASE,
        }
    for attribute, address in addresses.items():
        kvm_abi.set_attribute(fd, kvm_abi.VGIC_GRP_ADDR, attribute, ffi.new("uint64_t *", address))
    kvm_abi.set_attribute(fd, kvm_abi.VGIC_GRP_NR_IRQS, 0, ffi.new("uint32_t *", layout.NR_IRQS))
    kvm_abi.set_attribute(fd, kvm_abi.VGIC_GRP_CTRL, kvm_abi.VGIC_CTRL_INIT, ffi.NULL)
