"""The kernel's kallsyms in RAM, forged."""

import struct
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdbstub.errors import NotFound, StubError
from gdbstub.linux.kallsyms import Kallsyms
from gdbstub.linux.vmcoreinfo import VmcoreInfo
from tests.pure.linux_images import START, VOFFSET, Guest
from tests.pure.test_linux_log import LAYOUT, info

IMAGE = VOFFSET + START
COUNT, BASE, OFFSETS, NAMES, TABLE, INDEX = (IMAGE + 0x2_0000 * n for n in range(6))
LONG = "t" + "long_" * 40
SYMBOLS = ((0, "T_text"), (0x100, "tone"), (0x100, "Talias"), (0x180, LONG), (0x4000, "Tlast"))
#: The first function.
LINK = 0xFFFF_8000_0800_0000


def kernel(symbols: tuple[tuple[int, str], ...] = SYMBOLS) -> Guest:
    """A token for each letter, and one for ``long_``."""
    names = b""
    for _, name in symbols:
        # The last token is of several letters.
        tokens = [*name.encode()] if name != LONG else [ord("t"), *(255 for _ in range(40))]
        if name == LONG:
            tokens += [ord("x")] * 100  # so that its length takes two bytes
        length = len(tokens)
        names += bytes((length,)) if length < 128 else bytes((length & 0x7F | 0x80, length >> 7))
        names += bytes(tokens)
    texts = [chr(n) if 32 < n < 127 else "" for n in range(255)] + ["long_"]
    table, index = b"", []
    for text in texts:
        index.append(len(table))
        table += text.encode() + b"\0"
    guest = Guest(bytearray(0xC_0000))
    for gva, data in (
        (COUNT, struct.pack("<I", len(symbols))),
        (BASE, struct.pack("<Q", LINK)),
        (OFFSETS, struct.pack(f"<{len(symbols)}I", *(at for at, _ in symbols))),
        (NAMES, names),
        (TABLE, table),
        (INDEX, struct.pack("<256H", *index)),
    ):
        guest.image[gva - IMAGE : gva - IMAGE + len(data)] = data
    return guest


def told() -> VmcoreInfo:
    names = ("num_syms", "relative_base", "offsets", "names", "token_table", "token_index")
    lines = "".join(
        f"SYMBOL(kallsyms_{name})={gva:x}\n"
        for name, gva in zip(names, (COUNT, BASE, OFFSETS, NAMES, TABLE, INDEX), strict=True)
    )
    return info(LAYOUT + lines)


@pytest.mark.parametrize(
    ("offset", "name"),
    [
        (0, "_text+0x0"),
        (0xFF, "_text+0xff"),
        (0x104, "one+0x4"),
        (0x17F, "one+0x7f"),
        (0x180, "long_" * 40 + "x" * 100 + "+0x0"),
        (0x4010, "last+0x10"),
        (0x4000 + (2 << 20), ""),
        (-1, ""),
        (1 << 40, ""),
    ],
)
def test_names_of_addresses(offset: int, name: str) -> None:
    assert Kallsyms(told(), kernel().reader()).name(LINK + offset) == name


@pytest.mark.parametrize("offset", [0, 0x17F, 0x180, 0x4010, 0x4000 + (2 << 20), -1])
def test_names_where_each_offset_is_from_its_own_place(offset: int) -> None:
    """The layout since Linux 7: without a base, and most offsets are negative."""
    guest = kernel()
    for number, (at, _) in enumerate(SYMBOLS):
        place = OFFSETS + 4 * number
        struct.pack_into("<i", guest.image, place - IMAGE, IMAGE - 0x1_0000 + at - place)
    without = told()
    del without.values["SYMBOL", "kallsyms_relative_base"]
    theirs = Kallsyms(told(), kernel().reader()).name(LINK + offset)
    assert Kallsyms(without, guest.reader()).name(IMAGE - 0x1_0000 + offset) == theirs


def test_names_in_any_order_of_questions() -> None:
    found = Kallsyms(told(), kernel().reader())
    assert [found.name(LINK + at) for at in (0x4000, 0, 0x100)] == [
        "last+0x0", "_text+0x0", "one+0x0"
    ]  # fmt: skip


@pytest.mark.parametrize(("more", "shown"), [(b"x", "long_" * 102 + "x+0x0"), (b"xx", "")])
def test_a_name_longer_than_any_of_the_kernels_is_none(more: bytes, shown: str) -> None:
    """KSYM_NAME_LEN is 512, with the NUL; each token may be of 63 letters."""
    tokens = b"t" + b"\xff" * 102 + more
    guest = kernel()
    guest.image[NAMES - IMAGE : NAMES - IMAGE + len(tokens) + 1] = bytes((len(tokens),)) + tokens
    assert Kallsyms(told(), guest.reader()).name(LINK) == shown


def test_offsets_that_are_not_in_order() -> None:
    found = Kallsyms(told(), kernel(((0x64, "tone"), (5, "ttwo"), (3, "tthree"))).reader())
    assert [found.name(LINK + at) for at in (2, 10, 0x70)] == ["", "", "one+0xc"]


def test_a_kernel_that_does_not_tell() -> None:
    with pytest.raises(NotFound, match="has no SYMBOL"):
        Kallsyms(info(LAYOUT), kernel().reader())


def test_a_count_beyond_all_reason() -> None:
    guest = kernel()
    guest.image[:4] = b"\xff" * 4
    with pytest.raises(NotFound, match="are damaged: 4294967295 symbols"):
        Kallsyms(told(), guest.reader())


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from((COUNT, BASE, OFFSETS, NAMES, TABLE, INDEX)),
            st.integers(0, 40),
            st.binary(min_size=1, max_size=8),
        ),
        max_size=5,
    )
)
def test_no_damage_hangs_or_raises_anything_else(writes: list[tuple[int, int, bytes]]) -> None:
    guest = kernel()
    for gva, at, data in writes:
        guest.image[gva - IMAGE + at : gva - IMAGE + at + len(data)] = data
    with suppress(StubError):
        found = Kallsyms(told(), guest.reader())
        for offset in (0, 0x104, 0x180, 0x4000):
            assert found.name(LINK + offset).isprintable()
