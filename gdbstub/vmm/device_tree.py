"""The device tree that describes the machine to a guest, or a user's own with /chosen filled in.

It decides no address: those are ``layout``'s and ``boot``'s.
Sources: Documentation/devicetree/bindings, the Devicetree Specification 0.4.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from gdbstub.errors import InputError, excerpt
from gdbstub.vmm import layout
from gdbstub.vmm.layout import Gic

if TYPE_CHECKING:
    from fdt import FDT, Node

#: Documentation/arch/arm64/booting.rst, "Setup the device tree".
MAX_SIZE: Final = 2 << 20

_MAGIC: Final = b"\xd0\x0d\xfe\xed"
_HEADER_SIZE: Final = 40
_OLDEST: Final = 16
_VERSION: Final = 17
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

_Value = int | str | list[int] | list[str] | bytes | None


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
    import fdt

    # The default for entries is one list that all trees share.
    tree: FDT = fdt.FDT(entries=[])
    tree.header.version = _VERSION
    uart = f"/pl011@{layout.UART_BASE:x}"
    root = tree.root
    _fill(
        root,
        {
            "#address-cells": 2,
            "#size-cells": 2,
            "compatible": "linux,dummy-virt",
            "model": "linux,dummy-virt",
            "interrupt-parent": _GIC_PHANDLE,
        },
    )
    _fill(_child(root, "aliases"), {"serial0": uart})
    _choose(_child(root, "chosen"), chosen)
    _fill(root.get_subnode("chosen"), {"stdout-path": uart})
    _fill(
        _child(root, f"memory@{layout.RAM_BASE:x}"),
        {"device_type": "memory", "reg": _reg(layout.RAM_BASE, memory)},
    )
    _cpus(_child(root, "cpus"), mpidrs)
    _fill(
        _child(root, "psci"),
        {
            "compatible": ["arm,psci-1.0", "arm,psci-0.2", "arm,psci"],
            "method": "hvc",
            **dict(_PSCI),
        },
    )
    _timer(_child(root, "timer"), gic, len(mpidrs))
    if pmu:
        _fill(
            _child(root, "pmu"),
            {
                "compatible": "arm,armv8-pmuv3",
                "interrupts": _ppi(layout.PMU_PPI, gic, len(mpidrs)),
            },
        )
    _gic(_child(root, f"intc@{layout.GICD_BASE:x}"), gic, len(mpidrs))
    _fill(
        _child(root, "apb-pclk"),
        {
            "compatible": "fixed-clock",
            "#clock-cells": 0,
            "clock-frequency": layout.UART_CLOCK_HZ,
            "clock-output-names": "clk24mhz",
            "phandle": _CLOCK_PHANDLE,
        },
    )
    _fill(
        _child(root, uart[1:]),
        {
            "compatible": ["arm,pl011", "arm,primecell"],
            "reg": _reg(layout.UART_BASE, layout.UART_SIZE),
            "interrupts": [_SPI, layout.UART_SPI, _LEVEL_HIGH],
            "clocks": [_CLOCK_PHANDLE, _CLOCK_PHANDLE],
            "clock-names": ["uartclk", "apb_pclk"],
        },
    )
    return bytes(tree.to_dtb())


def amend(dtb: bytes, name: str, chosen: Chosen) -> bytes:
    """Put *chosen* into a user's tree *dtb*; where *chosen* says nothing, the tree is unchanged.

    Raises:
        InputError: *dtb* is no sound flattened tree, or *chosen* does not fit into one.
    """
    import fdt

    if not dtb.startswith(_MAGIC):
        raise InputError(f"{name}: is no device tree blob; compile a .dts by dtc first")
    total = int.from_bytes(dtb[4:8], "big")
    if len(dtb) < _HEADER_SIZE or total > len(dtb):
        raise InputError(f"{name}: is truncated: {len(dtb)} bytes of {total} are there")
    if total > MAX_SIZE:
        raise InputError(f"{name}: has {total} bytes; a device tree may have {MAX_SIZE}")
    version = int.from_bytes(dtb[20:24], "big")
    if not _OLDEST <= version <= _VERSION:  # the library breaks older ones as it writes them
        raise InputError(
            f"{name}: is of version {version}; expected {_OLDEST} or {_VERSION}: "
            "compile it by a newer dtc"
        )
    dtb = dtb[:total]
    try:
        # The parser appends to the list that all trees share; see ``build``.
        fdt.FDT().entries.clear()
        tree: FDT = fdt.parse_dtb(dtb)
        if tree.root is None or tree.root.name != "/":
            raise ValueError("no root node")
        tree.entries = list(tree.entries)
        node = tree.root.get_subnode("chosen") or _child(tree.root, "chosen")
        changed = _choose(node, chosen)
        return bytes(tree.to_dtb()) if changed else dtb
    except InputError:
        raise
    except Exception as error:
        # The parser leaves hostile input to whatever Python raises.
        why = str(error) or type(error).__name__
        raise InputError(f"{name}: is a damaged device tree blob ({excerpt(why)})") from error


def _choose(node: "Node", chosen: Chosen) -> bool:
    if chosen.bootargs is not None:
        if "\0" in chosen.bootargs:
            raise InputError("--append: a command line cannot hold a NUL character")
        # As bytes: the library's strings are ASCII and never empty.
        text = chosen.bootargs.encode("utf-8", "surrogateescape")
        node.set_property("bootargs", text + b"\0")
    if chosen.initrd is not None:
        start, end = chosen.initrd
        node.set_property("linux,initrd-start", _cells(start))
        node.set_property("linux,initrd-end", _cells(end))
    if chosen.kaslr_seed is not None:
        node.set_property("kaslr-seed", _cells(chosen.kaslr_seed))
    return chosen != Chosen()


def _cpus(node: "Node", mpidrs: Sequence[int]) -> None:
    _fill(node, {"#address-cells": 2, "#size-cells": 0})
    for mpidr in mpidrs:
        affinity = mpidr & _AFFINITY
        _fill(
            _child(node, f"cpu@{affinity:x}"),
            {
                "device_type": "cpu",
                "compatible": "arm,armv8",
                "reg": _cells(affinity),
                "enable-method": "psci",
            },
        )


def _timer(node: "Node", gic: Gic, cpus: int) -> None:
    interrupts = [cell for ppi in layout.TIMER_PPIS for cell in _ppi(ppi, gic, cpus)]
    _fill(
        node,
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


def _gic(node: "Node", gic: Gic, cpus: int) -> None:
    if gic is Gic.V2:
        compatible = "arm,cortex-a15-gic"
        reg = _reg(layout.GICD_BASE, layout.GICD_V2_SIZE)
        reg += _reg(layout.GICC_BASE, layout.GICC_SIZE)
    else:
        compatible = "arm,gic-v3"
        reg = _reg(layout.GICD_BASE, layout.GICD_V3_SIZE)
        reg += _reg(layout.GICR_BASE, layout.GICR_SIZE_PER_CPU * cpus)
    _fill(
        node,
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


def _child(parent: "Node", name: str) -> "Node":
    import fdt

    node = fdt.Node(name)
    parent.append(node)
    return node


def _fill(node: "Node", properties: dict[str, _Value]) -> None:
    for name, value in properties.items():
        node.set_property(name, value)


def _cells(value: int) -> list[int]:
    return [value >> 32, value & 0xFFFF_FFFF]


def _reg(base: int, size: int) -> list[int]:
    return _cells(base) + _cells(size)
