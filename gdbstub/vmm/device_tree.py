"""The device tree that describes the machine to a guest, or a user's own with /chosen filled in.

It decides no address: those are ``layout``'s and ``boot``'s.
Sources: Documentation/devicetree/bindings, the Devicetree Specification 0.4.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from gdbstub.errors import InputError, excerpt
from gdbstub.vmm import fdt, layout
from gdbstub.vmm.fdt import Node
from gdbstub.vmm.layout import Gic

#: Documentation/arch/arm64/booting.rst, "Setup the device tree".
MAX_SIZE: Final = 2 << 20

_GIC_PHANDLE: Final = 1
_CLOCK_PHANDLE: Final = 2
#: MPIDR_EL1.Aff3 and Aff2 to Aff0, which a cpu node's reg holds.
_AFFINITY: Final = 0xFF_00FF_FFFF
_SPI, _PPI = 0, 1
_LEVEL_HIGH: Final = 4
#: PSCI 0.2's function numbers, 64-bit ones where there are two (Arm DEN 0022, 5.1).
_PSCI: Final = (
    ("cpu_suspend", 0xC400_0001),
    ("cpu_off", 0x8400_0002),
    ("cpu_on", 0xC400_0003),
    ("migrate", 0xC400_0005),
)


class Chosen(NamedTuple):
    """Contents of /chosen: the command line, and the initrd's first and last-plus-one address.

    ``kaslr_seed`` is 64 bits; 0 is as good as none to a kernel.
    """

    bootargs: str | None = None
    initrd: tuple[int, int] | None = None
    kaslr_seed: int | None = None


def build(
    *, memory: int, mpidrs: Sequence[int], gic: Gic, chosen: Chosen, pmu: bool = False
) -> bytes:
    """Build a flattened tree for *memory* bytes of RAM and one vCPU for each of *mpidrs*.

    These are values of MPIDR_EL1. *pmu* is True if the vCPUs have a performance monitors unit.

    Raises:
        InputError: a command line that no tree can hold.
    """
    uart = f"/pl011@{layout.UART_BASE:x}"
    root = Node()
    root.update(
        {
            "#address-cells": 2,
            "#size-cells": 2,
            "compatible": "linux,dummy-virt",
            "model": "linux,dummy-virt",
            "interrupt-parent": _GIC_PHANDLE,
        },
    )
    root.child("aliases").update({"serial0": uart})
    _choose(root.child("chosen"), chosen)
    root.child("chosen").update({"stdout-path": uart})
    root.child(f"memory@{layout.RAM_BASE:x}").update(
        {"device_type": "memory", "reg": _reg(layout.RAM_BASE, memory)},
    )
    _cpus(root.child("cpus"), mpidrs)
    root.child("psci").update(
        {
            "compatible": ["arm,psci-1.0", "arm,psci-0.2", "arm,psci"],
            "method": "hvc",
            **dict(_PSCI),
        },
    )
    _timer(root.child("timer"), gic, len(mpidrs))
    if pmu:
        root.child("pmu").update(
            {
                "compatible": "arm,armv8-pmuv3",
                "interrupts": _ppi(layout.PMU_PPI, gic, len(mpidrs)),
            },
        )
    _gic(root.child(f"intc@{layout.GICD_BASE:x}"), gic, len(mpidrs))
    root.child("apb-pclk").update(
        {
            "compatible": "fixed-clock",
            "#clock-cells": 0,
            "clock-frequency": layout.UART_CLOCK_HZ,
            "clock-output-names": "clk24mhz",
            "phandle": _CLOCK_PHANDLE,
        },
    )
    root.child(uart[1:]).update(
        {
            "compatible": ["arm,pl011", "arm,primecell"],
            "reg": _reg(layout.UART_BASE, layout.UART_SIZE),
            "interrupts": [_SPI, layout.UART_SPI, _LEVEL_HIGH],
            "clocks": [_CLOCK_PHANDLE, _CLOCK_PHANDLE],
            "clock-names": ["uartclk", "apb_pclk"],
        },
    )
    return fdt.write(fdt.Tree(root))


def amend(dtb: bytes, name: str, chosen: Chosen) -> bytes:
    """Put *chosen* into a user's tree *dtb*; where *chosen* says nothing, the tree is unchanged.

    Raises:
        InputError: *dtb* is no sound flattened tree, or *chosen* does not fit into one.
    """
    if not dtb.startswith(fdt.MAGIC):
        raise InputError(f"{name}: is no device tree blob; compile a .dts by dtc first")
    total = int.from_bytes(dtb[4:8], "big")
    if len(dtb) < fdt.HEADER.size or total > len(dtb):
        raise InputError(f"{name}: is truncated: {len(dtb)} bytes of {total} are there")
    if total > MAX_SIZE:
        raise InputError(f"{name}: has {total} bytes; a device tree may have {MAX_SIZE}")
    version = int.from_bytes(dtb[20:24], "big")
    if not fdt.OLDEST <= version <= fdt.VERSION:
        raise InputError(
            f"{name}: is of version {version}; expected {fdt.OLDEST} or {fdt.VERSION}: "
            "compile it by a newer dtc"
        )
    dtb = dtb[:total]
    try:
        tree = fdt.read(dtb)
    except fdt.Malformed as error:
        why = excerpt(str(error))
        raise InputError(f"{name}: is a damaged device tree blob ({why})") from None
    return fdt.write(tree) if _choose(tree.root.child("chosen"), chosen) else dtb


def _choose(node: Node, chosen: Chosen) -> bool:
    if chosen.bootargs is not None:
        if "\0" in chosen.bootargs:
            raise InputError("--append: a command line cannot hold a NUL character")
        # As bytes: an argument of this process may be no text.
        text = chosen.bootargs.encode("utf-8", "surrogateescape")
        node.update({"bootargs": text + b"\0"})
    if chosen.initrd is not None:
        start, end = chosen.initrd
        node.update({"linux,initrd-start": _cells(start), "linux,initrd-end": _cells(end)})
    if chosen.kaslr_seed is not None:
        node.update({"kaslr-seed": _cells(chosen.kaslr_seed)})
    return chosen != Chosen()


def _cpus(node: Node, mpidrs: Sequence[int]) -> None:
    node.update({"#address-cells": 2, "#size-cells": 0})
    for mpidr in mpidrs:
        affinity = mpidr & _AFFINITY
        node.child(f"cpu@{affinity:x}").update(
            {
                "device_type": "cpu",
                "compatible": "arm,armv8",
                "reg": _cells(affinity),
                "enable-method": "psci",
            },
        )


def _timer(node: Node, gic: Gic, cpus: int) -> None:
    interrupts = [cell for ppi in layout.TIMER_PPIS for cell in _ppi(ppi, gic, cpus)]
    node.update(
        {
            "compatible": ["arm,armv8-timer", "arm,armv7-timer"],
            "always-on": None,
            "interrupts": interrupts,
        },
    )


def _ppi(number: int, gic: Gic, cpus: int) -> list[int]:
    """The cells of a private interrupt."""
    # GICv2's third cell also says which CPUs it goes to (bindings/.../arm,gic.yaml).
    mask = ((1 << cpus) - 1) << 8 if gic is Gic.V2 else 0
    return [_PPI, number, mask | _LEVEL_HIGH]


def _gic(node: Node, gic: Gic, cpus: int) -> None:
    if gic is Gic.V2:
        compatible = "arm,cortex-a15-gic"
        reg = _reg(layout.GICD_BASE, layout.GICD_V2_SIZE)
        reg += _reg(layout.GICC_BASE, layout.GICC_SIZE)
    else:
        compatible = "arm,gic-v3"
        reg = _reg(layout.GICD_BASE, layout.GICD_V3_SIZE)
        reg += _reg(layout.GICR_BASE, layout.GICR_SIZE_PER_CPU * cpus)
    node.update(
        {
            "compatible": compatible,
            "interrupt-controller": None,
            "#interrupt-cells": 3,
            "#address-cells": 2,
            "#size-cells": 2,
            "ranges": None,
            "reg": reg,
            "phandle": _GIC_PHANDLE,
        },
    )


def _cells(value: int) -> list[int]:
    return [value >> 32, value & 0xFFFF_FFFF]


def _reg(base: int, size: int) -> list[int]:
    return _cells(base) + _cells(size)
