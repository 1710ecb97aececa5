"""Entries of the lab's cache that were damaged since they were made."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gdbstub.lab import cache, checksums


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


def make_a_fifo_of_the_checksums(entry: Path) -> None:
    (entry / cache.CHECKSUMS).unlink()
    os.mkfifo(entry / cache.CHECKSUMS)


def make_a_fifo_of_it(entry: Path) -> None:
    (entry / "image").unlink()
    os.mkfifo(entry / "image")


def forget_a_size(entry: Path) -> None:
    (entry / cache.CHECKSUMS).write_text('{"image": {}}')


def forget_a_digest(entry: Path) -> None:
    rows = json.loads((entry / cache.CHECKSUMS).read_text())
    del rows["image"]["sha256"]
    (entry / cache.CHECKSUMS).write_text(json.dumps(rows))


def forget_all(entry: Path) -> None:
    (entry / cache.CHECKSUMS).write_text("{}")


def forget_one(entry: Path) -> None:
    rows = json.loads((entry / cache.CHECKSUMS).read_text())
    del rows["modules/one.ko"]
    (entry / cache.CHECKSUMS).write_text(json.dumps(rows))


def list_the_checksums(entry: Path) -> None:
    (entry / cache.CHECKSUMS).write_text("[]")


def number_the_checksums(entry: Path) -> None:
    (entry / cache.CHECKSUMS).write_text('{"image": 1, "link": 2}')


def add_a_file(entry: Path) -> None:
    (entry / "modules" / "two.ko").touch()


def name_one_outside(entry: Path) -> None:
    rows = json.loads((entry / cache.CHECKSUMS).read_text())
    rows["../../../../../../../../../etc/passwd"] = rows.pop("image")
    (entry / cache.CHECKSUMS).write_text(json.dumps(rows))


def nest_the_checksums(entry: Path) -> None:
    (entry / cache.CHECKSUMS).write_text("[" * 100_000)


def link_a_damaged_one(entry: Path) -> None:
    elsewhere = entry.with_name("elsewhere")
    entry.rename(elsewhere)
    (elsewhere / "image").unlink()
    entry.symlink_to(elsewhere)


def link_nothing(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.symlink_to("absent")


def link_itself(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.symlink_to(entry)


def make_a_file_of_the_entry(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.touch()


def make_a_fifo_of_the_entry(entry: Path) -> None:
    shutil.rmtree(entry)
    os.mkfifo(entry)


DAMAGES = [
    *(forget_a_digest, forget_all, forget_one, list_the_checksums, number_the_checksums),
    *(add_a_file, name_one_outside),
    *(make_a_fifo_of_the_checksums, make_a_fifo_of_it, forget_a_size, nest_the_checksums),
    *(link_a_damaged_one, link_nothing, link_itself),
    *(make_a_file_of_the_entry, make_a_fifo_of_the_entry),
    *(halve, empty, remove, remove_a_directory, remove_a_link, point_elsewhere, flip),
    *(make_a_directory_of_it, empty_the_entry, halve_the_checksums, empty_the_checksums),
]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.timeout(20)
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


def test_an_entry_elsewhere_behind_a_link_is_used(tmp_path: Path) -> None:
    entry = cache.entry("thing", ["a"], build)
    entry.rename(tmp_path / "other disk")
    entry.symlink_to(tmp_path / "other disk")
    assert cache.entry("thing", ["a"], build) == entry
    assert entry.is_symlink()


def test_a_link_to_nothing_beside_an_entry_keeps_nobody_from_it() -> None:
    (cache.root() / "thing-old").symlink_to("absent")
    assert (cache.entry("thing", ["a"], build) / "image").exists()


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def no_text(path: Path) -> None:
    path.write_bytes(b"\xff")


def absent(path: Path) -> None:
    path.unlink()


def empty_file(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize("name", ["file", "file.sha256"])
@pytest.mark.parametrize("damage", [a_directory, a_fifo, no_text, absent, empty_file])
@pytest.mark.timeout(20)
def test_a_download_that_is_not_as_it_was_does_not_match(
    damage: Callable[[Path], None], name: str, tmp_path: Path
) -> None:
    (tmp_path / "new").write_bytes(b"data")
    checksums.keep(tmp_path / "new", tmp_path / "file")
    assert checksums.matches(tmp_path / "file")
    damage(tmp_path / name)
    assert not checksums.matches(tmp_path / "file")
