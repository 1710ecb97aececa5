"""Names of addresses in modules, from the symbols that a kernel keeps of them; forged."""

import struct
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdbstub.errors import MemoryFault, NotFound, StubError
from gdbstub.linux.modules import Module, ModuleState
from gdbstub.linux.names import Names
from tests.pure.linux_images import START, VOFFSET, Guest, btf_of

IMAGE = VOFFSET + START
MODULE, TABLE, SYMBOLS, STRINGS = (IMAGE + 0x1000 * n for n in (1, 2, 3, 4))
CODE = 0xFFFF_8000_0100_0000
ROWS = ((0, 0, 0), (1, 1, CODE), (10, 1, CODE + 0x40), (7, 1, CODE + 0x40), (20, 0, CODE + 0x50))
TEXTS = b"\0first\0$x\0second\0\0\0undefined\0"


class Stage:
    """A kernel with one module."""

    def __init__(self) -> None:
        self.guest = Guest(bytearray(0x6000))
        structures = {
            "module": (64, {"kallsyms": 16}),
            "mod_kallsyms": (32, {"symtab": 0, "num_symtab": 8, "strtab": 16}),
        }
        self.put(IMAGE, btf_of(structures))
        self.put(MODULE + 16, struct.pack("<Q", TABLE))
        self.put(TABLE, struct.pack("<QQQ", SYMBOLS, len(ROWS), STRINGS))
        for number, (name, section, value) in enumerate(ROWS):
            row = struct.pack("<IBBHQQ", name, 2, 0, section, value, 0x10)
            self.put(SYMBOLS + 24 * number, row)
        self.put(STRINGS, TEXTS)

    def put(self, gva: int, data: bytes) -> None:
        self.guest.image[gva - IMAGE : gva - IMAGE + len(data)] = data

    def names(self) -> Names:
        from gdbstub.linux import btf

        module = Module(MODULE, "mod", ModuleState.LIVE, 0, (range(CODE, CODE + 0x1000),), 0)
        image: Any = SimpleNamespace(btf=btf.find(bytes(self.guest.image)))
        kernel: Any = SimpleNamespace(
            kallsyms=SimpleNamespace(name=lambda gva: f"kernel+{gva:#x}"),
            modules=SimpleNamespace(all=lambda: iter([module])),
            tasks=SimpleNamespace(image=image),
            reader=self.guest.reader,
        )
        return Names(kernel)


@pytest.mark.parametrize(
    ("gva", "name"),
    [
        (CODE + 0x3F, "first+0x3f [mod]"),
        (CODE + 0x44, "second+0x4 [mod]"),
        (CODE + 0x60, "second+0x20 [mod]"),
        (CODE + 0x2000, "kernel+0xffff800001002000"),
    ],
)
def test_the_last_symbol_before_an_address(gva: int, name: str) -> None:
    assert Stage().names().name(gva) == name


@pytest.mark.parametrize("table", [8, IMAGE + 0x5FF8])
def test_without_symbols_there_is_the_module(table: int) -> None:
    stage = Stage()
    stage.put(MODULE + 16, struct.pack("<Q", table))
    assert stage.names().name(CODE + 0x44) == "[mod+0x44]"


def test_a_kernel_without_names_says_so() -> None:
    class Nothing:
        @property
        def kallsyms(self) -> None:
            raise NotFound("no kallsyms")

        @property
        def modules(self) -> None:
            raise NotFound("no BTF")

    nothing: Any = Nothing()
    names = Names(nothing)
    assert names.name(CODE) == ""
    assert names.missing == "No names: no kallsyms\n"


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from((MODULE, TABLE, SYMBOLS, STRINGS)),
            st.integers(0, 60),
            st.binary(min_size=1, max_size=8),
        ),
        max_size=4,
    )
)
def test_no_damage_hangs_or_raises_anything_else(writes: list[tuple[int, int, bytes]]) -> None:
    stage = Stage()
    for gva, at, data in writes:
        stage.put(gva + at, data)
    with suppress(StubError, MemoryFault):
        assert stage.names().name(CODE + 0x44).isprintable()
