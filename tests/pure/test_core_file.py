"""Core files as they are written to disk."""

import os
import stat
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from gdbstub.errors import InputError
from gdbstub.linux.core_file import check_name, new_file

BLOCKS = st.lists(st.tuples(st.sampled_from([b"\0", b"x"]), st.integers(1, 10_000)), max_size=6)


@given(BLOCKS)
def test_a_file_holds_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[tuple[bytes, int]]
) -> None:
    path = tmp_path_factory.mktemp("core") / "core"
    with new_file(path) as file:
        for byte, count in blocks:
            file.write(byte * count)
    assert path.read_bytes() == b"".join(byte * count for byte, count in blocks)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_zeroes_take_no_space(tmp_path: Path) -> None:
    with new_file(tmp_path / "core") as file:
        file.write(bytes(64 << 20))
        file.write(b"end")
    about = os.stat(tmp_path / "core")
    assert about.st_size == (64 << 20) + 3
    assert about.st_blocks * 512 < 1 << 20


def test_a_name_in_zst_is_compressed(tmp_path: Path) -> None:
    with new_file(tmp_path / "core.zst") as file:
        file.write(b"abc" * 100_000)
    with zstandard.open(tmp_path / "core.zst", "rb") as file:
        assert file.read() == b"abc" * 100_000


def test_no_file_is_overwritten_and_half_a_file_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "core"
    path.write_bytes(b"mine")
    with pytest.raises(InputError, match="core: File exists"), new_file(path):
        pass
    assert path.read_bytes() == b"mine"

    def fail() -> None:
        with new_file(tmp_path / "half") as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not (tmp_path / "half").exists()


@pytest.mark.parametrize("name", ["half", "half.zst"])
def test_half_a_file_that_may_not_be_removed_is_empty(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A confined stub may remove no file."""
    monkeypatch.setattr(Path, "unlink", lambda _: os.rmdir(tmp_path))

    def fail() -> None:
        with new_file(tmp_path / name) as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (tmp_path / name).read_bytes() == b""


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../core", ".profile", "a b", "-f", "a\n", "é"]
)
def test_a_client_does_not_choose_a_directory(name: str) -> None:
    with pytest.raises(InputError, match="is no plain file name"):
        check_name(name)


def test_plain_names() -> None:
    assert check_name("vmcore-6.1_a.zst") == "vmcore-6.1_a.zst"
