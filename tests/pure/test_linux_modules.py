"""The list of modules, of kernels before and since 6.4 and 6.14, forged."""

import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdbstub.errors import MemoryFault, NotFound, StubError
from gdbstub.linux.kernel_image import KernelImage
from gdbstub.linux.modules import Modules, ModuleState
from tests.pure.linux_images import START, VOFFSET, Guest, btf_of

if TYPE_CHECKING:
    from gdbstub.linux.memory import LinuxKernel

IMAGE = VOFFSET + START
SIZE = 0x8000
#: The head of the list, in .data, and the memory that modules are in.
HEAD = IMAGE + 0x6000
AREA = 0xFFFF_8000_0100_0000
PAGE = 0x1000
#: struct module is so far behind the start of its module's data.
BEHIND = 0x100


@dataclass(frozen=True)
class Layout:
    """One kernel version's layout of a module, and of the attributes of its sections."""

    module: dict[str, int]
    part: str
    parts: tuple[int, ...]
    offsets: dict[str, int]
    #: Offset of the pointer in attribute_group, and of the address in an attribute.
    group: int
    address: int
    structures: dict[str, tuple[int, dict[str, int]]]


_COMMON = {"state": 0, "list": 8, "name": 24, "refcnt": 300}
OLD = Layout(
    _COMMON | {"core_layout": 80, "init_layout": 160, "sect_attrs": 240},
    "module_layout", (80, 160), {"base": 0, "size": 8}, 32, 64,
    {"module_sect_attr": (72, {"battr": 0, "address": 64})},
)  # fmt: skip
NEW = Layout(
    _COMMON | {"mem": 80, "sect_attrs": 288},
    "module_memory", tuple(80 + 24 * n for n in range(7)), {"base": 0, "size": 8}, 32, 64,
    {"module_sect_attr": (72, {"battr": 0, "address": 64})},
)  # fmt: skip
NEWEST = Layout(
    _COMMON | {"mem": 80, "sect_attrs": 288},
    "module_memory", tuple(80 + 32 * n for n in range(7)), {"base": 8, "size": 16}, 40, 24, {}
)  # fmt: skip
STRIDE = {OLD.part: 80, NEW.part: 24}
layouts = pytest.mark.parametrize("layout", [OLD, NEW, NEWEST], ids=["5.10", "6.4", "6.14"])


class Kernel(Guest):
    """A guest with modules; each has pages of its own for its code, its data and its init.

    RAM may go on behind the image, where the kernel maps nothing.
    """

    def __init__(self, layout: Layout, *names: str) -> None:
        stride = layout.parts[1] - layout.parts[0]
        members = {
            "module": (400, layout.module),
            layout.part: (stride, layout.offsets),
            "bin_attribute": (64, {"private": 24}),
            **layout.structures,
        }
        image = bytearray(SIZE)
        btf = btf_of(members)
        image[: len(btf)] = btf
        super().__init__(image)
        self.layout = layout
        self.put(HEAD, "<QQ", HEAD, HEAD)
        places = [AREA + n * 0x1_0000 for n in range(len(names))]
        links = [HEAD, *(place + PAGE + BEHIND + layout.module["list"] for place in places), HEAD]
        for number, (name, place) in enumerate(zip(names, places, strict=True)):
            self.memory[place] = bytearray(3 * PAGE)
            self._module(place, name)
            self.put(links[number + 1], "<QQ", links[number + 2], links[number])
        self.put(HEAD, "<QQ", links[1], links[-2])

    def reader(self) -> Callable[[int, int], bytes]:
        read = super().reader()

        def mapped(gva: int, length: int) -> bytes:
            if IMAGE + SIZE < gva + length <= IMAGE + len(self.image):
                raise MemoryFault(f"not mapped: {gva:#x}")
            return read(gva, length)

        return mapped

    def put(self, gva: int, form: str, *values: object) -> None:
        for start, data in ((IMAGE, self.image), *self.memory.items()):
            if start <= gva < start + len(data):
                struct.pack_into(form, data, gva - start, *values)
                return
        raise AssertionError(f"{gva:#x}")

    def _module(self, place: int, name: str) -> None:
        layout, gva = self.layout, place + PAGE + BEHIND
        self.put(gva + layout.module["state"], "<I", ModuleState.LIVE)
        self.put(gva + layout.module["name"], "56s", name.encode())
        self.put(gva + layout.module["refcnt"], "<I", 3)
        # Before 6.4 one area has code and data.
        areas = [(place, 2 * PAGE), (place + 2 * PAGE, 0x40)]
        if layout.part == NEW.part:
            areas = [(place, PAGE), (place + PAGE, PAGE), (0, 0), (0, 0), (place + 2 * PAGE, 0x40)]
        for at, (base, size) in zip(layout.parts, areas, strict=False):
            self.put(gva + at + layout.offsets["base"], "<Q", base)
            self.put(gva + at + layout.offsets["size"], "<I", size)
        # Below them: the attributes of the sections, and their names.
        attributes, rows, names = place + 0x200, place + 0x400, place + 0x500
        self.put(gva + layout.module["sect_attrs"], "<Q", attributes)
        self.put(attributes + layout.group, "<Q", rows)
        for number, (section, address) in enumerate(
            ((".text", place), (".init.text", place + 2 * PAGE))
        ):
            attribute, text = attributes + 48 + 72 * number, names + 32 * number
            self.put(rows + 8 * number, "<QQ", attribute, 0)
            self.put(attribute, "<Q", text)
            self.put(attribute + layout.address, "<Q", address)
            self.put(text, "32s", section.encode())

    def modules(self) -> Modules:
        kernel = cast("LinuxKernel", self)
        return Modules(kernel, KernelImage(kernel), HEAD - 0x100)


@layouts
def test_modules_and_their_sections(layout: Layout) -> None:
    modules = Kernel(layout, "failover", "virtio_net").modules()
    first, second = modules.all()
    assert (first.name, second.name) == ("failover", "virtio_net")
    assert first.state is ModuleState.LIVE
    assert first.references == 2
    assert (first.base, first.size) == (AREA, 2 * PAGE + 0x40)
    assert second.base == AREA + 0x1_0000
    assert modules.sections(second) == [
        (".text", AREA + 0x1_0000), (".init.text", AREA + 0x1_2000)
    ]  # fmt: skip


@layouts
def test_no_module(layout: Layout) -> None:
    assert list(Kernel(layout).modules().all()) == []


@layouts
def test_the_last_module_goes(layout: Layout) -> None:
    kernel = Kernel(layout, "failover")
    modules = kernel.modules()
    assert len(list(modules.all())) == 1
    kernel.put(HEAD, "<QQ", HEAD, HEAD)
    assert list(modules.all()) == []


def test_a_module_that_is_hardly_begun_is_left_out() -> None:
    kernel = Kernel(OLD, "failover", "virtio_net")
    kernel.put(AREA + 0x1_0000 + PAGE + BEHIND, "<I", ModuleState.UNFORMED)
    assert [each.name for each in kernel.modules().all()] == ["failover"]


@pytest.mark.parametrize(
    ("link", "why"),
    [
        (AREA + PAGE + BEHIND + OLD.module["list"], "is damaged: it comes back to"),
        (0xFFFF_8000_0F00_0000, "is damaged at"),
        (8, "is damaged at"),
    ],
)
def test_a_list_that_leads_astray(link: int, why: str) -> None:
    kernel = Kernel(OLD, "failover", "virtio_net", "virtio")
    modules = kernel.modules()
    kernel.put(AREA + 0x1_0000 + PAGE + BEHIND + OLD.module["list"], "<Q", link)
    found = modules.all()
    names = [each.name for each in islice(found, 2)]
    with pytest.raises(NotFound, match=why):
        list(found)
    assert names == ["failover", "virtio_net"]


@layouts
def test_sections_without_an_end(layout: Layout) -> None:
    kernel = Kernel(layout, "failover")
    (module,) = kernel.modules().all()
    many = 0xFFFF_9000_0000_0000
    kernel.memory[many] = bytearray(struct.pack("<Q", AREA + 0x200 + 48) * 4096)
    kernel.put(AREA + 0x200 + layout.group, "<Q", many)
    with pytest.raises(NotFound, match="damaged: there are more than 1024"):
        kernel.modules().sections(module)


@pytest.mark.parametrize("attributes", [AREA, 8, 0xFFFF_FFFF_FFFF_FFF8])
def test_sections_that_are_none(attributes: int) -> None:
    kernel = Kernel(OLD, "failover")
    kernel.put(AREA + PAGE + BEHIND + OLD.module["sect_attrs"], "<Q", attributes)
    (module,) = kernel.modules().all()
    with pytest.raises(NotFound, match="the sections of failover are damaged"):
        kernel.modules().sections(module)


def test_a_kernel_without_sysfs_keeps_no_sections() -> None:
    kernel = Kernel(OLD, "failover")
    kernel.put(AREA + PAGE + BEHIND + OLD.module["sect_attrs"], "<Q", 0)
    (module,) = kernel.modules().all()
    with pytest.raises(NotFound, match="keeps no sections of failover"):
        kernel.modules().sections(module)


def test_a_size_beyond_all_reason_is_none() -> None:
    kernel = Kernel(OLD, "failover", "virtio_net")
    at = AREA + 0x1_0000 + PAGE + BEHIND + OLD.parts[1] + OLD.offsets["size"]
    kernel.put(at, "<I", 0xFFFF_FFFF)
    assert [each.size for each in kernel.modules().all()] == [2 * PAGE + 0x40, 2 * PAGE]


@layouts
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_damage_hangs_or_raises_anything_else(layout: Layout, data: st.DataObject) -> None:
    kernel = Kernel(layout, "failover", "virtio_net")
    modules = kernel.modules()
    spots = [HEAD, AREA + 0x200, AREA + 0x400, AREA + PAGE + BEHIND]
    for _ in range(data.draw(st.integers(1, 4))):
        gva = data.draw(st.sampled_from(spots)) + 8 * data.draw(st.integers(0, 40))
        word = data.draw(st.sampled_from([0, 8, HEAD, AREA, AREA + 0x1_0000, (1 << 64) - 1]))
        kernel.put(gva, "<Q", word)
    with suppress(StubError):
        for module in modules.all():
            assert module.size < 1 << 33
            assert len(modules.sections(module)) <= 1024


@layouts
def test_ram_behind_the_kernel_is_not_searched(layout: Layout) -> None:
    """Whatever is there may be a program's."""
    kernel = Kernel(layout, "failover")
    kernel.image += bytes(0x4_0000)
    false, link = IMAGE + 0x2_0000, AREA + PAGE + BEHIND + layout.module["list"]
    kernel.put(HEAD, "<QQ", HEAD, HEAD)
    kernel.put(false, "<QQ", link, link)
    kernel.put(link, "<QQ", false, false)
    assert list(kernel.modules().all()) == []
