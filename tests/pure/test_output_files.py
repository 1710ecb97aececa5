"""Files for output in directories where everybody may write: nothing of another user's is opened.

As the kernel's protected_symlinks, protected_fifos and protected_regular, whatever they are set to.
"""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from gdbstub.errors import InputError
from gdbstub.streams import open_log
from gdbstub.vmm.files import open_written

OTHER = 4711
KEPT = b"of value"


@pytest.fixture(params=[open_log, lambda path: open_written(path, "")], ids=["log", "written"])
def opener(request: pytest.FixtureRequest) -> Callable[[str], int]:
    opener: Callable[[str], int] = request.param
    return opener


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of this user's."""
    path = tmp_path / "file"
    path.write_bytes(KEPT)
    return path


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A directory as /tmp is."""
    path = tmp_path / "shared"
    path.mkdir()
    path.chmod(0o1777)
    return path


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of what is another user's."""
    names: set[str] = set()
    lstat, fstat = os.lstat, os.fstat

    def owned(status: os.stat_result, name: str) -> os.stat_result:
        return os.stat_result((*status[:4], OTHER, *status[5:])) if name in names else status

    monkeypatch.setattr(os, "lstat", lambda path: owned(lstat(path), str(path)))
    monkeypatch.setattr(
        os, "fstat", lambda fd: owned(fstat(fd), os.readlink(f"/proc/self/fd/{fd}"))
    )
    return names


def refused(opener: Callable[[str], int], path: Path) -> bool:
    try:
        os.close(opener(str(path)))
    except (OSError, InputError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        assert "another user's, or could be, in a directory where everybody may write" in str(said)
        return True
    return False


def test_a_link_of_another_user_is_not_followed(
    opener: Callable[[str], int], file: Path, shared: Path, theirs: set[str]
) -> None:
    link = shared / "link"
    link.symlink_to(file)
    theirs.add(str(link))
    assert refused(opener, link)
    assert file.read_bytes() == KEPT


def test_a_link_that_comes_meanwhile_is_not_followed(
    opener: Callable[[str], int], file: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = shared / "link"
    lstat = os.lstat

    def race(path: str) -> os.stat_result:
        try:
            return lstat(path)
        finally:
            if str(path) == str(link) and not link.is_symlink():
                link.symlink_to(file)

    monkeypatch.setattr(os, "lstat", race)
    assert refused(opener, link)
    assert file.read_bytes() == KEPT


@pytest.mark.parametrize("make", [Path.touch, os.mkfifo])
def test_a_file_of_another_user_is_not_written(
    opener: Callable[[str], int], shared: Path, theirs: set[str], make: Callable[[Path], None]
) -> None:
    path = shared / "made"
    make(path)
    theirs.add(str(path))
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    assert refused(opener, path)
    os.close(reader)


def test_a_link_where_anybody_can_replace_it_is_not_followed(
    opener: Callable[[str], int], file: Path, shared: Path
) -> None:
    shared.chmod(0o777)
    (shared / "link").symlink_to(file)
    assert refused(opener, shared / "link")
    assert file.read_bytes() == KEPT


def test_what_is_ours_is_opened(opener: Callable[[str], int], file: Path, shared: Path) -> None:
    link, outside = shared / "link", file.parent / "outside"
    link.symlink_to(file)
    outside.symlink_to(file)
    for path in (shared / "new", shared / "new", link, outside, file):
        path.write_bytes(KEPT)
        assert not refused(opener, path)
        assert path.read_bytes() == b""
    for path in (Path("/dev/null"), Path("/dev/full")):
        assert not refused(opener, path)


def test_a_socket_is_not_taken_for_a_fifo(tmp_path: Path) -> None:
    """A sweep's report is opened with no look at its name before."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with pytest.raises(InputError, match="socket: No such device or address"):
            open_written(str(tmp_path / "socket"), "")
