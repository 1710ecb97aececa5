from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub.errors import InputError
from gdbstub.linux import elf
from gdbstub.vmm import boot, device_tree, fdt
from gdbstub.vmm.boot import BootPlan
from gdbstub.vmm.image import Guest, LinuxImage
from gdbstub.vmm.layout import RAM_BASE, Gic
from gdbstub.vmm.size import MAXIMUM, MIB, suggest
from tests.pure.elves import Elf, Load

MPIDRS = [0x8000_0000, 0x8000_0001]


def linux(text_offset: int = 0, image_size: int = 30 * MIB) -> LinuxImage:
    return LinuxImage("Image", bytes(4096), text_offset, image_size, 0xA)


def bare(*loads: Load, entry: int = RAM_BASE) -> elf.Executable:
    return elf.parse(Elf(loads, entry=entry).build(), "a.elf")


def plan(
    guest: Guest,
    memory: int = 256 * MIB,
    *,
    append: str | None = None,
    initrd: bytes | None = None,
    dtb: bytes | None = None,
    mpidrs: list[int] = MPIDRS,
) -> BootPlan:
    return boot.plan(
        guest, memory=memory, gic=Gic.V3, mpidrs=mpidrs, append=append, initrd=initrd, dtb=dtb
    )


def check(found: BootPlan, memory: int) -> None:
    """Check a plan's invariants: all within RAM, no overlap, an aligned device tree."""
    rows = sorted(found.placements, key=lambda p: p.ipa)
    assert rows[0].ipa >= RAM_BASE
    assert rows[-1].end <= RAM_BASE + memory
    assert all(a.end <= b.ipa for a, b in pairwise(rows))
    assert all(len(p.data) <= p.size for p in rows)
    assert found.x0 % 8 == 0
    (tree,) = (p for p in rows if p.what == "device tree")
    assert tree.ipa == found.x0
    assert len(tree.data) == tree.size <= 2 * MIB


def chosen(found: BootPlan) -> dict[str, bytes]:
    (data,) = (p.data for p in found.placements if p.what == "device tree")
    return fdt.read(bytes(data)).root.child("chosen").properties


def test_linux_starts_at_its_text_offset_with_its_tree_and_initrd_near() -> None:
    found = plan(linux(text_offset=0x8_0000), 4 << 30, append="nokaslr", initrd=b"cpio" * 999)
    check(found, 4 << 30)
    assert found.pc == RAM_BASE + 0x8_0000
    (initrd,) = (p for p in found.placements if p.what == "initrd")
    assert initrd.data == b"cpio" * 999
    assert max(initrd.end, found.x0) < RAM_BASE + 512 * MIB
    node = chosen(found)
    assert node["bootargs"] == b"nokaslr\0"
    assert node["linux,initrd-start"] == initrd.ipa.to_bytes(8, "big")
    assert node["linux,initrd-end"] == initrd.end.to_bytes(8, "big")


def test_the_initrd_stays_in_the_image_s_window() -> None:
    big = bytes(600 * MIB)
    found = plan(linux(), 64 << 30, initrd=big)
    check(found, 64 << 30)
    (initrd,) = (p for p in found.placements if p.what == "initrd")
    assert initrd.end <= RAM_BASE + (32 << 30)


def test_an_elf_starts_at_its_physical_entry() -> None:
    code = Load(RAM_BASE + 0x1000, bytes(64), vaddr=0xFFFF_8000_0000_0000, memsz=0x9000)
    found = plan(bare(code, Load(RAM_BASE, b"data"), entry=0xFFFF_8000_0000_0010))
    check(found, 256 * MIB)
    assert found.pc == RAM_BASE + 0x1010
    assert [(p.ipa, p.size) for p in found.placements[:2]] == [
        (RAM_BASE, 4),
        (RAM_BASE + 0x1000, 0x9000),
    ]


def test_an_elf_without_initrd_has_none_in_its_tree() -> None:
    node = chosen(plan(bare(Load())))
    assert not node.keys() & {"linux,initrd-start", "kaslr-seed"}


def test_the_tree_avoids_an_elf_at_the_top_of_ram() -> None:
    found = plan(bare(Load(RAM_BASE + 3 * MIB, memsz=MIB), entry=RAM_BASE + 3 * MIB), 4 * MIB)
    check(found, 4 * MIB)
    assert found.x0 < RAM_BASE + 3 * MIB


def test_a_user_s_tree_is_handed_on_as_given() -> None:
    own = device_tree.build(memory=MIB, mpidrs=[0], gic=Gic.V3, chosen=device_tree.Chosen("theirs"))
    assert plan(bare(Load()), dtb=own).placements[-1].data == own
    changed = plan(bare(Load()), dtb=own, append="ours", initrd=b"cpio")
    assert chosen(changed)["bootargs"] == b"ours\0"
    assert "linux,initrd-end" in chosen(changed)


@pytest.mark.parametrize(
    ("guest", "line"),
    [
        (linux(), r"Image: needs 30.1 MiB of memory, and --memory is 16M; give at least"
                  " --memory 64M"),
        (linux(image_size=16 * MIB), r"needs 16.1 MiB of memory"),
        (linux(text_offset=1 << 63), r"no size is enough"),
        (bare(Load(memsz=1 << 32)), r"a.elf: needs 4096.1 MiB.*give at least --memory 5G"),
        (bare(Load(0), entry=0), r"a.elf: has a segment at 0x0-0xf; RAM is at 0x40000000-"
                                 r"0x40ffffff \(16M\)"),
        (bare(Load(1 << 47), entry=1 << 47), r"has a segment at 0x800000000000"),
        (bare(Load(RAM_BASE, b"1234"), Load(RAM_BASE + 3)), r"segments overlap at 0x40000003"),
        (bare(Load(memsz=16 * MIB)), r"needs 16.1 MiB of memory"),
    ],
)  # fmt: skip
def test_what_does_not_fit_says_so_with_figures(guest: Guest, line: str) -> None:
    with pytest.raises(InputError, match=line):
        plan(guest, 16 * MIB)


def test_an_initrd_counts() -> None:
    line = "Image with its initrd: needs 40.1 MiB of memory, and --memory is 32M; .* 64M"
    with pytest.raises(InputError, match=line):
        plan(linux(), 32 * MIB, initrd=bytes(10 * MIB))


def test_options_that_cannot_be_honoured() -> None:
    with pytest.raises(InputError, match="--append: has 2048 bytes; the kernel keeps 2047"):
        plan(linux(), append="a" * 2048)
    assert plan(bare(Load()), append="a" * 2048).pc == RAM_BASE
    with pytest.raises(InputError, match="--append: a command line cannot hold a NUL"):
        plan(linux(), append="a\0b")
    with pytest.raises(InputError, match="--dtb: is no device tree blob"):
        plan(linux(), dtb=b"garbage")
    with pytest.raises(InputError, match="--smp 124: GICv3 serves 123 at most"):
        plan(linux(), mpidrs=list(range(124)))


SIZES = st.integers(1, 80 * MIB)


@given(
    text_offset=st.sampled_from([0, 0x8_0000, 0x1F_FFF8]),
    image_size=st.one_of(SIZES, st.integers(400 * MIB, 600 * MIB)).map(lambda n: n + 4096),
    memory=st.integers(32, 32 * 1024).map(lambda n: n * 64 << 10),
    initrd_size=st.one_of(st.just(0), SIZES),
)
def test_linux_fits_or_the_advice_is_good(
    text_offset: int, image_size: int, memory: int, initrd_size: int
) -> None:
    guest, initrd = linux(text_offset, image_size), bytes(initrd_size)
    needed = text_offset + image_size + initrd_size
    try:
        found = plan(guest, memory, initrd=initrd)
    except InputError:
        assert memory < needed + 4 * MIB
        better = suggest(needed + 192 * 1024)
        assert better is not None
        check(plan(guest, better, initrd=initrd), better)
    else:
        check(found, memory)


@given(
    gaps=st.lists(
        st.tuples(st.integers(0, 100 * MIB), st.integers(1, 100 * MIB)), min_size=1, max_size=5
    ),
    order=st.randoms(),
    initrd_size=st.sampled_from([0, 1, 5 * MIB]),
)
def test_elf_segments_are_never_overlaid(
    gaps: list[tuple[int, int]], order: Random, initrd_size: int
) -> None:
    loads, at = [], RAM_BASE
    for gap, size in gaps:
        at += gap
        loads.append(Load(at, b"", memsz=size))
        at += size
    entry = -(-loads[0].paddr // 4) * 4
    loads[0].memsz = (loads[0].memsz or 0) + 4
    loads = [loads[0], *(Load(x.paddr + 4, b"", memsz=x.memsz) for x in loads[1:])]
    order.shuffle(loads)
    for memory in (64 * MIB, 512 * MIB, 2 << 30):
        try:
            found = plan(bare(*loads, entry=entry), memory, initrd=bytes(initrd_size))
        except InputError:
            assert memory < 2 << 30
        else:
            check(found, memory)


def test_the_largest_memory_can_be_planned() -> None:
    check(plan(linux(), MAXIMUM, initrd=b"x"), MAXIMUM)
