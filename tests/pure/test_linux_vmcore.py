"""Program headers of a core file of a kernel whose tables are forged."""

import struct
from collections.abc import Mapping

import pytest

from gdbstub.aarch64.registers import TCR_EL1
from gdbstub.aarch64.sysreg import TCR
from gdbstub.linux import vmcore
from gdbstub.linux.core_file import CoreOutput
from gdbstub.linux.guest import LinuxGuest
from gdbstub.monitor import monitored_debugger
from tests.pure.hostile_guests import START, HostileMachine, at
from tests.tables import Tables

LINK = 0xFFFF_8000_0800_0000
#: Places in RAM: of the tables, and of the image.
TABLES, IMAGE, SIZE = 2 << 20, 8 << 20, 26 << 20
VOFFSET = LINK - START - IMAGE


def loads(
    pages: Mapping[int, int], granule: int = 12, bits: int = 48
) -> list[tuple[int, int, int]]:
    """Return the PT_LOADs but those of all RAM: address, place in the image, and size.

    The kernel's tables map *pages*, by their offsets from its start, to offsets in RAM. They are
    for addresses of so many *bits*; the CPU has 48.
    """
    machine = HostileMachine(size=SIZE)
    tables = Tables(granule=granule, bits=bits, base=START + TABLES)
    for offset, ipa in pages.items():
        tables.map(LINK + offset, START + ipa)
    machine.write_info(
        f"NUMBER(kimage_voffset)={VOFFSET}\nSYMBOL(_stext)={LINK + 0x1_0000:x}\n"
        f"SYMBOL(swapper_pg_dir)={START + TABLES + VOFFSET:x}\nNUMBER(VA_BITS)={bits}\n"
        f"NUMBER(PHYS_OFFSET)={(START + (1 << 48) - (1 << bits)) % (1 << 64):#x}\n"
    )
    machine.written[TABLES] = tables.read(tables.base, tables.next - tables.base)
    machine.vcpus[0].set(TCR_EL1, TCR.of(**(tables.tcr() | {"T1SZ": 64 - 48})))
    written = list[bytes]()
    guest = LinuxGuest(machine, monitored_debugger(machine).memory)
    size, missing = vmcore.write(guest, CoreOutput(written.append))
    core = b"".join(written)
    assert (len(core), missing) == (size, "")
    count = struct.unpack_from("<H", core, 56)[0]
    rows = [struct.unpack_from("<IIQQQQQQ", core, 64 + 56 * n) for n in range(1, count)]
    for _, _, offset, _, ipa, length, _, _ in rows:
        assert core[offset : offset + 64] == machine.read_memory(ipa, 64)
        assert offset + length <= size
    assert rows[-1][3:6] == (at(0), START, SIZE)
    return [
        (gva - LINK, ipa - START - IMAGE, length) for _, _, _, gva, ipa, length, _, _ in rows[:-1]
    ]


def image(*offsets: int) -> dict[int, int]:
    """Pages of the kernel's own."""
    return {offset: IMAGE + offset for offset in offsets}


@pytest.mark.parametrize("granule", [12, 14, 16])
def test_an_image_with_a_hole_where_its_init_was(granule: int) -> None:
    page = 1 << granule
    first = [n * page for n in range(5)]
    second = [8 * page, 9 * page, 4097 * page]
    assert loads(image(*first, *second), granule) == [
        (0, 0, 5 * page), (8 * page, 8 * page, 2 * page)
    ] + [(4097 * page, 4097 * page, page)] * (granule == 12)  # fmt: skip


def test_a_kernel_of_52_bits_on_a_cpu_of_48() -> None:
    """The tables for 48 bits, with pages of 64 KiB, are at the end of the first one."""
    assert loads(image(0, 1 << 16, 1 << 18), 16, bits=52) == [
        (0, 0, 2 << 16), (1 << 18, 1 << 18, 1 << 16)
    ]  # fmt: skip


def test_what_is_mapped_elsewhere_is_none_of_the_image() -> None:
    pages = image(0, 4096) | {8192: IMAGE + (1 << 20), 12288: SIZE, 20480: IMAGE + 20480}
    assert loads(pages) == [(0, 0, 8192), (20480, 20480, 4096)]


def test_a_kernel_without_tables() -> None:
    assert loads({}) == []


def test_an_image_in_more_pieces_than_any_is_bounded() -> None:
    assert len(loads(image(*range(0, 1100 * 8192, 8192)))) == 1 << 10


def test_ram_with_a_breakpoint_is_written_and_all_else_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each MiB of it comes by the reader that hides breakpoints, in its place."""
    machine = HostileMachine(size=(8 << 20) + 4096)
    parts: list[tuple[int, int]] = []

    def has_breakpoints(self: LinuxGuest, ipa: int, length: int) -> bool:
        return any(ipa <= START + place < ipa + length for place in (0, 5 << 20, (6 << 20) - 4))

    def take_ram(ipa: int, size: int) -> bool:
        parts.append((ipa - START, size))
        return True

    monkeypatch.setattr(LinuxGuest, "has_breakpoints", has_breakpoints)
    guest = LinuxGuest(machine, monitored_debugger(machine).memory)
    output = CoreOutput(lambda data: parts.append((-1, len(data))), take_ram)
    size, _ = vmcore.write(guest, output)
    head, *rest = parts
    mib = 1 << 20
    assert rest == [
        (-1, mib), (mib, 4 * mib), (-1, mib), (6 * mib, 2 * mib + 4096)
    ]  # fmt: skip
    assert size == head[1] + (8 << 20) + 4096
