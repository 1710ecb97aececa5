"""Names that another user has made where the lab keeps its own."""

import fcntl
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gdbstub import others
from gdbstub.errors import LabError
from gdbstub.lab import cache, directories, private
from gdbstub.lab.host import Lab
from gdbstub.lab.port_forwards import UnixForward

OTHER = 12345
"""A user that is not this one."""


def use_places(monkeypatch: pytest.MonkeyPatch, *places: Path) -> None:
    """Have temporary files made in one of *places*."""
    for module in (directories, private):
        monkeypatch.setattr(module, "temporary_places", lambda **_: list(places))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = tmp_path / "tmp"
    place.mkdir(0o777)
    use_places(monkeypatch, place)
    yield place
    for each in place.iterdir():
        if each.is_dir() and not each.is_symlink():
            each.chmod(0o700)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_text("mine")
    return file


def old(directory: Path) -> None:
    os.utime(directory, (0, 0))


def lab(place: Path, mode: int = 0o700) -> Path:
    directory = place / f"{directories.PREFIX}x"
    directory.mkdir()
    directory.chmod(mode)
    return directory


def a_link_as_lock(place: Path, file: Path) -> None:
    (lab(place) / "lock").symlink_to(file)


def a_hard_link_as_lock_in_an_open_directory(place: Path, file: Path) -> None:
    (lab(place, 0o777) / "lock").hardlink_to(file)


def a_fifo_as_lock(place: Path, file: Path) -> None:
    os.mkfifo(lab(place) / "lock")


def a_directory_as_lock(place: Path, file: Path) -> None:
    (lab(place) / "lock").mkdir()


def a_link_as_directory(place: Path, file: Path) -> None:
    (place / f"{directories.PREFIX}x").symlink_to(file.parent)


def a_file_as_directory(place: Path, file: Path) -> None:
    (place / f"{directories.PREFIX}x").hardlink_to(file)


def a_directory_that_others_write(place: Path, file: Path) -> None:
    directory = lab(place, 0o770)
    (directory / "lock").touch()


def a_directory_of_another_user(place: Path, file: Path) -> None:
    (lab(place) / "lock").touch()


TRAPS = [
    a_link_as_lock,
    a_hard_link_as_lock_in_an_open_directory,
    a_fifo_as_lock,
    a_directory_as_lock,
    a_link_as_directory,
    a_file_as_directory,
    a_directory_that_others_write,
    a_directory_of_another_user,
]


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.timeout(20)
def test_remove_stale_touches_nothing_that_is_not_ours(
    trap: Callable[[Path, Path], None], place: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap(place, file)
    if trap is a_directory_of_another_user:
        monkeypatch.setattr(os, "geteuid", lambda: OTHER)
    (made,) = place.iterdir()
    os.utime(made, (0, 0), follow_symlinks=False)
    before = os.lstat(made)
    directories.remove_stale()
    assert file.read_text() == "mine"
    assert os.path.samestat(os.lstat(made), before)


def test_remove_stale_follows_no_link_in_what_it_removes(place: Path, file: Path) -> None:
    directory = lab(place)
    (directory / "lock").touch()
    (directory / "link").symlink_to(file)
    (directory / "links").mkdir()
    (directory / "links" / "up").symlink_to(file.parent)
    old(directory)
    directories.remove_stale()
    assert not directory.exists()
    assert file.read_text() == "mine"


def test_remove_stale_removes_a_directory_whose_owner_made_no_lock(place: Path) -> None:
    directory = lab(place)
    old(directory)
    directories.remove_stale()
    assert not directory.exists()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707])
def test_no_directory_is_made_where_others_can_replace_it(place: Path, mode: int) -> None:
    place.chmod(mode)
    with pytest.raises(LabError, match="XDG_RUNTIME_DIR"):
        directories.claim()
    place.chmod(mode | 0o1000)
    directory, lock = directories.claim()
    os.close(lock)
    assert directory.stat().st_mode & 0o777 == 0o700


def test_no_room_for_a_directory_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    use_places(monkeypatch, Path("/proc"))
    with pytest.raises(LabError, match=r"cannot make a directory in /proc .* XDG_RUNTIME_DIR"):
        directories.claim()


def test_a_lock_is_not_opened_through_a_link(tmp_path: Path, file: Path) -> None:
    (tmp_path / "lock").symlink_to(file)
    with pytest.raises(OSError, match="symbolic links"):
        private.open_lock(tmp_path / "lock")
    (tmp_path / "other").symlink_to(tmp_path / "absent")
    with pytest.raises(OSError, match="symbolic links"):
        private.open_lock(tmp_path / "other")
    assert file.read_text() == "mine"


def test_a_lock_keeps_what_is_in_it(file: Path) -> None:
    with private.locked(file):
        assert file.read_text() == "mine"
        other = private.open_lock(file)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o722])
def test_a_cache_that_others_can_write_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache.root().chmod(mode)
    with pytest.raises(LabError, match="can be written by other users"):
        cache.root()


def test_a_lock_of_the_cache_is_not_opened_through_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (cache.root() / "thing.lock").symlink_to(file)
    with pytest.raises((LabError, OSError)):
        cache.entry("thing", ["a"], lambda directory: None)
    assert file.read_text() == "mine"


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_a_live_socket_is_not_deleted(tmp_path: Path, kind: socket.SocketKind) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, kind) as live:
        live.bind(str(path))
        if kind != socket.SOCK_DGRAM:
            live.listen()
        with pytest.raises(LabError, match=r"in use|cannot be listened on"):
            UnixForward(path).check()
        assert path.is_socket()
    UnixForward(path).check()
    assert not path.exists()


def test_a_socket_behind_a_link_is_not_deleted(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(LabError, match="is no socket"):
        UnixForward(tmp_path / "link").check()
    assert path.is_socket()


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o777, 0o1777])
def test_a_lab_is_not_used_in_a_directory_that_is_not_ours_alone(place: Path, mode: int) -> None:
    """A configuration of ssh may name any command."""
    directory = place / "lab"
    directory.mkdir()
    (directory / "ssh_config").touch()
    directory.chmod(mode)
    with pytest.raises(LabError, match=r"lab must be a directory of this user alone"):
        Lab.attach(directory)
    directory.chmod(0o700)
    Lab.attach(directory)
    (place / "link").symlink_to(directory)
    Lab.attach(place / "link")


@pytest.mark.parametrize(
    "name", ["a b", "a,b", "a%d", 'a"b', "a$b", "a\nb", "é", "a\\b", "a'b", "a#b"]
)
def test_a_lab_is_not_made_where_ssh_or_qemu_read_its_name_otherwise(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = Path("/tmp") / f"{tmp_path.name}-{name}"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(odd))
    monkeypatch.setattr("tempfile.tempdir", str(odd))
    assert others.temporary_places() == [Path("/tmp")]
    assert others.temporary_places(large=True) == [odd, Path("/tmp"), odd]  # the kernel reads it


def test_large_files_are_not_in_the_runtime_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runtime directory is a part of RAM, and its path is short, for sockets."""
    (tmp_path / "run").mkdir(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/the/run")
    monkeypatch.setattr(tempfile, "tempdir", "/the/tmp")
    assert others.temporary_places() == [Path("/the/run"), Path("/the/tmp"), Path("/tmp")]
    long = others.temporary_places(large=True)
    assert long == [Path("/the/tmp"), Path("/tmp"), Path("/the/run")]
    use_places(monkeypatch, tmp_path / "absent", tmp_path / "run")
    assert private.place() == tmp_path / "run"


def test_no_place_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """``tempfile`` raises if it can write nowhere."""

    def absent() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", absent)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert set(others.temporary_places()) == {Path("/tmp")}
    use_places(monkeypatch, Path("/nowhere"), Path("/nor/here"))
    with pytest.raises(LabError, match="in /nowhere or /nor/here, or it cannot be written: set"):
        private.place()


@pytest.mark.parametrize("large", [False, True])
def test_no_place_below_what_others_can_replace(
    large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory itself is this user's alone."""
    shared, mine = tmp_path / "shared", tmp_path / "shared" / "mine"
    mine.mkdir(parents=True)
    use_places(monkeypatch, mine)
    assert private.place(large=large) == mine
    shared.chmod(0o777)
    with pytest.raises(LabError, match="other users could replace what is made in"):
        private.place(large=large)


def test_no_place_behind_a_link_of_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory of ours may be behind it now."""
    (tmp_path / "mine").mkdir()
    link, lstat = tmp_path / "link", Path.lstat
    link.symlink_to("mine")
    use_places(monkeypatch, link)
    assert private.place() == link

    def theirs(path: Path) -> os.stat_result:
        status = lstat(path)
        return os.stat_result((*status[:4], OTHER, *status[5:])) if path == link else status

    monkeypatch.setattr(Path, "lstat", theirs)
    with pytest.raises(LabError, match="other users could replace what is made in"):
        private.place()
