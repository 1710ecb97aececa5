"""The lab's cache: keys, and builders that wait, fail and are killed."""

import errno
import os
import pwd
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub.errors import LabError
from gdbstub.lab import cache

BUILDER = """
import sys
from pathlib import Path
from gdbstub.lab import cache

def build(directory):
    (directory / "half").touch()
    print("building", flush=True)
    sys.stdin.readline()
    (directory / "whole").touch()

print(cache.entry("thing", ["part"], build), flush=True)
"""


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def builder() -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    argv = [sys.executable, "-c", BUILDER]
    return subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


@given(st.lists(st.text()), st.lists(st.text()))
def test_different_parts_have_different_keys(one: list[str], other: list[str]) -> None:
    assert (cache.key_of(one) == cache.key_of(other)) == (one == other)


def test_a_part_may_be_a_name_that_is_not_unicode() -> None:
    one, other = (os.fsdecode(name) for name in (b"a\xff", b"a\xfe"))
    assert cache.key_of([one]) != cache.key_of([other])


def test_an_entry_is_built_once() -> None:
    built: list[Path] = []
    first = cache.entry("thing", ["a"], built.append)
    assert cache.entry("thing", ["a"], built.append) == first
    assert cache.entry("thing", ["b"], built.append) != first
    assert len(built) == 2


def test_a_failed_build_leaves_nothing(cache_home: Path) -> None:
    def build(directory: Path) -> None:
        (directory / "half").touch()
        raise LabError("no")

    with pytest.raises(LabError, match="no"):
        cache.entry("thing", ["a"], build)
    assert [path.name for path in cache.root().iterdir()] == ["thing.lock"]


def test_the_second_process_waits_and_says_so() -> None:
    with builder() as first, builder_after(first) as second:
        assert second.stderr
        assert "another process is preparing the thing" in second.stderr.readline()
        first_out, _ = first.communicate("go\n")
        second_out, _ = second.communicate("")
    assert first_out == second_out
    assert (Path(first_out.strip()) / "whole").exists()


def builder_after(first: "subprocess.Popen[str]") -> "subprocess.Popen[str]":
    assert line(first) == "building"
    return builder()


def test_a_killed_builder_leaves_no_entry_and_is_swept() -> None:
    with builder() as first:
        assert line(first) == "building"
        first.kill()
    assert list(cache.root().glob(".thing-*"))
    assert not list(cache.root().glob("thing-*"))
    with builder() as second:
        assert line(second) == "building"
        out, _ = second.communicate("go\n")
    assert (Path(out.strip()) / "whole").exists()
    assert not list(cache.root().glob(".thing-*"))


def test_old_entries_go_and_used_ones_stay() -> None:
    old = cache.entry("thing", ["old"], lambda directory: None)
    used = cache.entry("thing", ["used"], lambda directory: None)
    other = cache.entry("other", ["old"], lambda directory: None)
    for path in (old, used, other):
        os.utime(path, (0, 0))
    cache.entry("thing", ["used"], lambda directory: None)
    cache.entry("thing", ["new"], lambda directory: None)
    assert not old.exists()
    assert used.exists()
    assert other.exists()


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "the disk is full: free about"),
        (LabError("tar: x: No space left on device"), "the disk is full: free about"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), "Read-only .* set XDG_CACHE_HOME"),
    ],
)
def test_a_disk_that_refuses_is_one_clear_line(error: Exception, remedy: str) -> None:
    def build(directory: Path) -> None:
        raise error

    with pytest.raises(LabError, match=remedy):
        cache.entry("thing", ["a"], build)


def test_a_cache_that_is_no_directory(cache_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache_home / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_home / "file"))
    with pytest.raises(LabError, match="set XDG_CACHE_HOME"):
        cache.root()


@pytest.mark.parametrize("home", ["rel", "~nobody-at-all", ".", ""])
def test_a_home_that_is_no_absolute_path(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "also relative")
    monkeypatch.setenv("HOME", home)
    with pytest.raises(LabError, match="set HOME, or XDG_CACHE_HOME, to an absolute path"):
        cache.root()


@pytest.mark.parametrize("linked", [False, True])
def test_a_directory_above_that_everybody_writes_to_is_refused(
    linked: bool, cache_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user could move ours away, and put theirs there, at any moment."""
    shared = cache_home / "shared"
    (shared / "mine").mkdir(parents=True)
    shared.chmod(0o777)
    home = cache_home / "link" if linked else shared / "mine"
    if linked:
        home.symlink_to(shared / "mine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    with pytest.raises(LabError, match=r"every user can replace what is in \S+/shared \(mode 777"):
        cache.root()
    shared.chmod(0o1777)
    assert cache.root().is_dir()


def test_a_directory_above_that_is_another_users_is_refused(
    cache_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner could move our directory away, whatever the mode is."""
    theirs = cache_home / "theirs"
    (theirs / "mine").mkdir(parents=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(theirs / "mine"))
    status = Path.stat

    def stat(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        found = status(path, follow_symlinks=follow_symlinks)
        return os.stat_result((*found[:4], 4711, *found[5:])) if path == theirs else found

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(
        LabError, match=r"user 4711 can replace what is in \S+/theirs, as its owner, and so"
    ):
        cache.root()
    assert list((theirs / "mine").iterdir()) == []


@pytest.mark.parametrize("variable", ["HOME", "XDG_CACHE_HOME"])
def test_the_cache_is_not_in_the_home_of_another_user_who_calls_sudo(
    variable: str, cache_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``sudo -E`` keeps the caller's environment, and the caller could not use what root makes."""
    root_home = SimpleNamespace(pw_dir="/the/root")
    monkeypatch.setattr(pwd, "getpwuid", {os.getuid() + 1: root_home}.__getitem__)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv(variable, str(cache_home / "not" / "yet"))
    monkeypatch.setenv("SUDO_UID", str(os.getuid()))
    assert cache._parent().is_relative_to(cache_home)  # sudo -u of the same user
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert cache._parent() == Path("/the/root/.cache")
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)  # sudo -u '#4711'
    assert cache._parent().is_relative_to(cache_home)
    monkeypatch.setenv("SUDO_UID", str(os.getuid() + 2))  # what another user than the caller has
    assert cache._parent().is_relative_to(cache_home)


@pytest.mark.parametrize("umask", [0, 0o002, 0o077])
def test_nobody_else_can_replace_what_is_made_whatever_the_umask(
    umask: int, cache_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_home / "a" / "b"))
    before = os.umask(umask)
    try:
        made = cache.root()
        entry = cache.entry("thing", ["a"], lambda directory: None)
    finally:
        os.umask(before)
    for path in (cache_home / "a", cache_home / "a" / "b", made, entry):
        assert not path.stat().st_mode & 0o022
