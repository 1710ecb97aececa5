"""Regions of memory by forged translation tables."""

from gdbstub.aarch64.mmu import Regime, Walk, walk
from gdbstub.aarch64.sysreg import SCTLR, TCR
from gdbstub.capabilities import MemoryRegion
from gdbstub.debug.memory_regions import region
from gdbstub.errors import MemoryFault
from tests.pure.test_mmu import regime
from tests.tables import AF, Tables

PAGE = 4096
RAM = (range(0x4000_0000, 0x5000_0000), range(0x6000_0000, 0x6000_1000))
TOP = (1 << 64) - (1 << 39)
READ_ONLY, UXN, PXN = 1 << 7, 1 << 54, 1 << 53


def mapped() -> Tables:
    """Two executable pages, one read-only one behind them, and a block."""
    tables = Tables(12, 39, 0x4010_0000, False)
    for page in range(2):
        tables.map(0x20_0000 + page * PAGE, 0x4000_0000, 3, AF)
    tables.map(0x20_2000, 0x4000_0000, 3, AF | READ_ONLY | UXN | PXN)
    tables.map(0x40_0000, 0x4000_0000, 2, AF | UXN | PXN)
    return tables


def found(gva: int, tables: Tables | None = None) -> MemoryRegion:
    tables = tables or mapped()

    def walked(address: int) -> Walk:
        return walk(regime(tables), address, tables.read)

    return region(walked, gva, RAM)


def test_pages_with_the_same_permissions_are_one_region() -> None:
    assert found(TOP + 0x20_0010) == MemoryRegion(TOP + 0x20_0000, 2 * PAGE, "rwx")
    assert found(TOP + 0x20_2FFF) == MemoryRegion(TOP + 0x20_2000, PAGE, "r")


def test_blocks_and_holes_are_as_large_as_what_their_entries_translate() -> None:
    assert found(TOP + 0x40_0000) == MemoryRegion(TOP + 0x40_0000, 2 << 20, "rw")
    # To the end of the first table that has something, then what has no table at all.
    assert found(TOP + 0x20_3000) == MemoryRegion(TOP + 0x20_3000, 0x1F_D000)
    assert found(TOP) == MemoryRegion(TOP, 2 << 20)
    assert found((1 << 64) - 1).permissions == ""


def test_between_the_halves_is_a_hole() -> None:
    assert found(1 << 50) == MemoryRegion(1 << 39, TOP - (1 << 39))


def test_with_the_mmu_off_there_is_ram_and_gaps() -> None:
    def walked(address: int) -> Walk:
        return walk(Regime(SCTLR(0), TCR(0), 0, 0), address, read)

    def read(ipa: int, length: int) -> bytes:
        raise MemoryFault("no table is read")

    assert region(walked, 0x4000_1234, RAM) == MemoryRegion(0x4000_0000, 0x1000_0000, "rwx")
    assert region(walked, 0, RAM) == MemoryRegion(0, 0x4000_0000)
    assert region(walked, 0x5000_0000, RAM) == MemoryRegion(0x5000_0000, 0x1000_0000)
    assert region(walked, 1 << 40, RAM) == MemoryRegion(0x6000_1000, (1 << 64) - 0x6000_1000)


def test_a_table_full_of_pages_ends_the_search() -> None:
    tables = Tables(12, 39, 0x4010_0000, False)
    for page in range(1024):
        tables.map(page * PAGE, 0x4000_0000, 3, AF)
    assert found(TOP, tables) == MemoryRegion(TOP, 512 * PAGE, "rwx")
