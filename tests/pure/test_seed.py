import pytest

from gdbstub.errors import InputError
from gdbstub.vmm.seed import parse_seed


@pytest.mark.parametrize(
    ("text", "seed"),
    [("0", 0), ("12", 12), ("0x1234", 0x1234), (str((1 << 64) - 1), (1 << 64) - 1)],
)
def test_a_number(text: str, seed: int) -> None:
    assert parse_seed(text) == seed


def test_a_random_one_is_another_each_time() -> None:
    found = {parse_seed("random") for _ in range(8)}
    assert len(found) == 8
    assert all(0 <= seed < 1 << 64 for seed in found)


@pytest.mark.parametrize("text", ["", "on", "-1", "0x10000000000000000", "1.5", "\n"])
def test_what_is_no_seed(text: str) -> None:
    with pytest.raises(InputError, match=r"--kaslr-seed .*: expected random, or a number of 64"):
        parse_seed(text)


def test_an_error_is_one_line() -> None:
    with pytest.raises(InputError) as error:
        parse_seed("1\n2")
    assert "\n" not in str(error.value)
