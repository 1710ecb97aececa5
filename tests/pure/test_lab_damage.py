"""Entries of the lab's cache that were damaged since they were made."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gdbstub.lab import cache


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def build(directory: Path) -> None:
    (directory / "image").write_bytes(bytes(range(256)) * 16)
    (directory / "modules").mkdir()
    (directory / "modules" / "one.ko").write_bytes(b"one")
    (directory / "link").symlink_to("image")


def halve(entry: Path) -> None:
    os.truncate(entry / "image", 2048)


def empty(entry: Path) -> None:
    os.truncate(entry / "modules" / "one.ko", 0)


def remove(entry: Path) -> None:
    (entry / "image").unlink()


def remove_a_directory(entry: Path) -> None:
    (entry / "modules" / "one.ko").unlink()
    (entry / "modules").rmdir()


def remove_a_link(entry: Path) -> None:
    (entry / "link").unlink()


def point_elsewhere(entry: Path) -> None:
    (entry / "link").unlink()
    (entry / "link").symlink_to("/etc/passwd")


def flip(entry: Path) -> None:
    with (entry / "image").open("r+b") as file:
        file.seek(100)
        file.write(b"\0")
    os.utime(entry / "image", ns=(0, 1))


def make_a_directory_of_it(entry: Path) -> None:
    (entry / "image").unlink()
    (entry / "image").mkdir()


def empty_the_entry(entry: Path) -> None:
    for name in ("image", "link", cache.CHECKSUMS):
        (entry / name).unlink()


def halve_the_checksums(entry: Path) -> None:
    os.truncate(entry / cache.CHECKSUMS, 20)


def empty_the_checksums(entry: Path) -> None:
    os.truncate(entry / cache.CHECKSUMS, 0)


DAMAGES = [
    *(halve, empty, remove, remove_a_directory, remove_a_link, point_elsewhere, flip),
    *(make_a_directory_of_it, empty_the_entry, halve_the_checksums, empty_the_checksums),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_made_again_with_one_line(
    damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    entry = cache.entry("thing", ["a"], build)
    damage(entry)
    assert cache.entry("thing", ["a"], build) == entry
    assert (entry / "image").read_bytes() == bytes(range(256)) * 16
    assert (entry / "modules" / "one.ko").read_bytes() == b"one"
    assert os.readlink(entry / "link") == "image"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"gdbstub: the cache's {entry.name} is damaged (")
    assert line.endswith("): it is made again")


def test_an_entry_that_is_whole_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    entry = cache.entry("thing", ["a"], build)
    made = (entry / "image").stat().st_ino
    os.utime(entry / "image")  # a copy or a restored backup has another time
    assert cache.entry("thing", ["a"], build) == entry
    assert (entry / "image").stat().st_ino == made
    assert capsys.readouterr().err == ""
