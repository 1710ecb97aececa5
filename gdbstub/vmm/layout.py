"""The guest's address map and interrupt numbers, one named constant each.

It places nothing: ``boot`` plans RAM, and ``device_tree`` describes the rest to the guest.
"""

from enum import Enum
from typing import Final

PAGE: Final = 0x1000

#: GIC distributor, both kinds.
GICD_BASE: Final = 0x0800_0000
GICD_V3_SIZE: Final = 0x1_0000
GICD_V2_SIZE: Final = 0x1000
#: GICv2 CPU interface: two pages, for GICC_DIR is in the second.
GICC_BASE: Final = 0x0801_0000
GICC_SIZE: Final = 0x2000
#: GICv3 redistributors, one after another, each two frames of 64 KiB.
GICR_BASE: Final = 0x080A_0000
GICR_SIZE_PER_CPU: Final = 0x2_0000

UART_BASE: Final = 0x0900_0000
UART_SIZE: Final = 0x1000
#: Shared peripheral interrupt as a device tree counts it.
UART_SPI: Final = 1
UART_CLOCK_HZ: Final = 24_000_000

#: INTID of SPI 0 (GIC architecture, "INTIDs").
SPI_BASE: Final = 32
UART_INTID: Final = SPI_BASE + UART_SPI
#: Interrupt lines the vGIC is made with: a multiple of 32 and 64 at least.
NR_IRQS: Final = 64

#: Private peripheral interrupts of the arch timer as a device tree counts them: secure,
#: non-secure, virtual, hypervisor (Documentation/devicetree/bindings/timer/arm,arch_timer.yaml).
TIMER_PPIS: Final = (13, 14, 11, 10)

#: The PMU's, by Arm's Base System Architecture; INTID of PPI 0 before it.
PMU_PPI: Final = 7
PMU_INTID: Final = 16 + PMU_PPI

RAM_BASE: Final = 0x4000_0000
#: KVM's default guest physical space (VM type 0) is 40 bits wide.
RAM_LIMIT: Final = 1 << 40


class Gic(Enum):
    """Interrupt controllers that a guest can have; the host's hardware decides which."""

    V2 = 2
    V3 = 3

    @property
    def max_cpus(self) -> int:
        """The most vCPUs it serves: 8 by GICv2's target bits, else what fits below the UART."""
        if self is Gic.V2:
            return 8
        return (UART_BASE - GICR_BASE) // GICR_SIZE_PER_CPU
