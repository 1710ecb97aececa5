import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub.errors import InputError
from gdbstub.vmm.size import ALIGNMENT, MAXIMUM, MINIMUM, format_size, parse_memory, suggest


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512M", 512 << 20),
        ("1G", 1 << 30),
        (" 1gib ", 1 << 30),
        ("2MB", 2 << 20),
        ("65536k", 64 << 20),
        ("134217728", 128 << 20),
        ("134217728B", 128 << 20),
        ("1023G", MAXIMUM),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "expected a size such as 512M or 1G"),
        ("lots", "expected a size such as 512M or 1G"),
        ("-1G", "expected a size"),
        ("1.5G", "expected a size"),
        ("0x1000", "expected a size"),
        ("512X", "expected a size"),
        ("٥M", "expected a size"),
        ("4096\u212a", "expected a size"),  # the sign of a kelvin, which is a K in some ways
        ("4Gıb", "expected a size"),
        ("9" * 40, "expected a size"),
        ("0", "--memory 0: the least is 2M$"),
        ("512", "--memory 512: the least is 2M; for mebibytes write 512M"),
        ("1M", "--memory 1M: the least is 2M$"),
        ("1T", "--memory 1T: the most is 1023G"),
        ("4294967297", "expected a multiple of 64K"),
    ],
)
def test_bad_sizes_get_one_clear_line(text: str, line: str) -> None:
    with pytest.raises(InputError, match=line):
        parse_memory(text)


@given(st.integers(MINIMUM // ALIGNMENT, MAXIMUM // ALIGNMENT).map(lambda n: n * ALIGNMENT))
def test_what_is_printed_can_be_given(size: int) -> None:
    assert parse_memory(format_size(size)) == size


@given(st.integers(1, 1 << 64))
def test_a_suggestion_is_enough_and_can_be_given(needed: int) -> None:
    found = suggest(needed)
    if found is None:
        assert needed > MAXIMUM
    else:
        assert found >= needed
        assert parse_memory(format_size(found)) == found


def test_an_error_is_one_line() -> None:
    with pytest.raises(InputError, match=r"^--memory 64: the least is 2M; .* 64M$"):
        parse_memory("64\n")
