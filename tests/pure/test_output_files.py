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
    fstat = os.fstat

    def owned(status: os.stat_result, name: str) -> os.stat_result:
        return os.stat_result((*status[:4], OTHER, *status[5:])) if name in names else status

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
    os_open = os.open

    def race(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        try:
            return os_open(path, flags, mode, dir_fd=dir_fd)
        finally:
            if path == "link" and not link.is_symlink():
                link.symlink_to(file)

    monkeypatch.setattr(os, "open", race)
    assert refused(opener, link)
    assert file.read_bytes() == KEPT


def test_a_link_of_another_user_is_not_followed_on_the_way(
    opener: Callable[[str], int], file: Path, shared: Path, theirs: set[str]
) -> None:
    """Nor as a part of what a link of ours leads to."""
    link, ours = shared / "link", file.parent / "ours"
    link.symlink_to(file.parent)
    ours.symlink_to(link / "file")
    for path in (link / "file", ours):
        assert not refused(opener, path)
        file.write_bytes(KEPT)
    theirs.add(str(link))
    for path in (link / "file", ours, link / ".." / file.parent.name / "file"):
        assert refused(opener, path)
        assert file.read_bytes() == KEPT


def test_a_link_in_a_directory_that_another_user_has_made_is_not_followed(
    opener: Callable[[str], int], file: Path, shared: Path, theirs: set[str]
) -> None:
    """``mkdir -p /tmp/results`` succeeds if that is there already. A new file may be made there."""
    results = shared / "results"
    (results / "below").mkdir(parents=True)
    (results / "below" / "link").symlink_to(file)
    theirs.add(str(results))
    assert refused(opener, results / "below" / "link")
    assert file.read_bytes() == KEPT
    assert not refused(opener, results / "new")


def test_a_directory_that_becomes_a_link_meanwhile_is_not_followed(
    opener: Callable[[str], int], file: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, moved = shared / "made", shared / "moved"
    made.mkdir()
    os_open = os.open

    def race(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "file" and made.is_dir() and not made.is_symlink():
            made.rename(moved)
            made.symlink_to(file.parent)
        return os_open(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", race)
    assert not refused(opener, made / "file")
    assert file.read_bytes() == KEPT
    assert (moved / "file").exists()


def test_names_that_the_kernel_alone_follows(
    opener: Callable[[str], int], file: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/dev/stdout leads to a link in /proc, whose text is no path."""
    reader, writer = os.pipe()
    monkeypatch.chdir(file.parent)
    with open(file, "r+b") as opened:
        for path in (f"/dev/fd/{writer}", "/proc/self/cwd/file", f"/dev/fd/{opened.fileno()}"):
            file.write_bytes(KEPT)
            assert not refused(opener, Path(path))
    assert file.read_bytes() == b""
    os.close(reader)
    os.close(writer)


def test_links_without_end(opener: Callable[[str], int], tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises((OSError, InputError), match="Too many levels of symbolic links"):
        opener(str(tmp_path / "one"))


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
    for path in (Path("/dev/null"), Path("/dev/full"), Path(os.path.relpath(file))):
        assert not refused(opener, path)


def test_a_socket_is_not_taken_for_a_fifo(tmp_path: Path) -> None:
    """A sweep's report is opened with no look at its name before."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with pytest.raises(InputError, match="socket: No such device or address"):
            open_written(str(tmp_path / "socket"), "")
