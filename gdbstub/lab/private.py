"""Directories and files of this user alone, in places where other users may write.

A name in such a place may be anybody's: each is checked by what was opened, never through a link.
"""

import errno
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Final

from gdbstub.errors import LabError
from gdbstub.others import is_safe_parent, replaceable, temporary_places

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK a FIFO would be waited for; O_TRUNC has no place here.
_LOCK: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def check_place(path: Path, remedy: str) -> None:
    """Check that no other user can put something else in the place of *path*, there or not.

    Raises:
        LabError: one can, with the *remedy*.
    """
    if why := replaceable(path):
        raise LabError(f"{why}, and so {path}: {remedy}")


def check_own(path: Path, remedy: str) -> None:
    """Check that the directory *path* is this user's, and that no other can write into or move it.

    Raises:
        LabError: it is not, with the *remedy*.
    """
    status = path.stat()
    if status.st_uid != os.geteuid():
        raise LabError(f"{path} belongs to user {status.st_uid}, not to {os.geteuid()}: {remedy}")
    if status.st_mode & 0o022:
        raise LabError(
            f"{path} can be written by other users (mode {stat.S_IMODE(status.st_mode):o}): "
            f"chmod go-w {path}, or {remedy}"
        )
    check_place(path, remedy)


def place(*, large: bool = False) -> Path:
    """Return a directory for temporary files, in which no other user can replace what is ours.

    *large* ones are not in the runtime directory, which is small, if there is another place.

    Raises:
        LabError: there is none.
    """
    places = temporary_places(large=large)
    for path in places:
        if is_safe_parent(path):
            return path
    names = " or ".join(map(str, dict.fromkeys(places)))
    raise LabError(
        f"other users could replace what is made in {names}, or it cannot be written: set "
        f"{'TMPDIR' if large else 'XDG_RUNTIME_DIR or TMPDIR'} to a directory of yours alone"
    )


def open_lock(path: Path) -> int:
    """Open the lock file *path*, made if it is absent; nothing in it is changed.

    Raises:
        OSError: it is a link, no plain file, or another user's.
    """
    return _opened_lock(str(path), _LOCK | os.O_CREAT, None)


def _opened_lock(path: str, flags: int, directory: int | None) -> int:
    lock = os.open(path, flags, 0o600, dir_fd=directory)
    status = os.fstat(lock)
    if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
        return lock
    os.close(lock)
    raise PermissionError(1, "no plain file of this user", path)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file *path*; wait for its owner."""
    lock = open_lock(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def opened(path: Path) -> BufferedReader:
    """Open a plain file to read. A FIFO in its place would be waited for, and a device has no end.

    Raises:
        OSError: it is none, or cannot be read.
    """
    file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "no plain file", str(path))
    return file


def remove(path: Path) -> None:
    """Remove what has this name: a file, a link, or a directory with what is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_unclaimed(path: Path, lock: str, seconds: float) -> None:
    """Remove the directory *path* if it is ours, private, old, and nobody holds its *lock*.

    Raises:
        OSError: it is not, or it cannot be removed.
    """
    directory = os.open(path, _DIRECTORY)
    try:
        status = os.fstat(directory)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise PermissionError(1, "no private directory of this user", str(path))
        if time.time() - status.st_mtime < seconds:
            return
        try:
            held = _opened_lock(lock, _LOCK, directory)
        except FileNotFoundError:
            held = -1  # its owner was killed before it made one
        try:
            if held >= 0:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for name in os.listdir(directory):
                _remove(name, directory)
            os.rmdir(path)
        finally:
            if held >= 0:
                os.close(held)
    finally:
        os.close(directory)


def _remove(name: str, directory: int) -> None:
    mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    if stat.S_ISDIR(mode):
        shutil.rmtree(name, dir_fd=directory)
    else:
        os.unlink(name, dir_fd=directory)
