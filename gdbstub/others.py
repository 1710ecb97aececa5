"""Other users of this machine: what they could replace, and files that they cannot lead us to.

A name in a directory where others may write may be anybody's, and may change at any moment.
"""

import errno
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_LOOK: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
#: Links that are followed in one path, as the kernel's MAXSYMLINKS.
_MOST_LINKS: Final = 40
#: Owner of what is root's outside, in a user namespace (linux/Documentation/admin-guide/sysctl).
_UNMAPPED: Final = 65534
#: Names of directories in which a socket may be: its path has 107 bytes at most; and ssh's
#: configuration, QEMU's options and a shell read others otherwise.
_PLAIN: Final = re.compile(r"/[\w/.@+-]{0,49}", re.ASCII)


def temporary_places(*, large: bool = False) -> list[Path]:
    """List the directories in which temporary files may be, the best first.

    *large* ones have no sockets, and the runtime directory, which is small, is their last.
    """
    import tempfile  # few sessions need it

    runtime, usual = os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp"
    with suppress(OSError):  # there is none that can be written
        usual = tempfile.gettempdir()
    names = (usual, "/tmp", runtime) if large else (runtime, usual, "/tmp")
    return [Path(name) for name in names if (_is_path(name) if large else _PLAIN.fullmatch(name))]


def _is_path(name: str) -> bool:
    return name.startswith("/") and "\0" not in name


def is_safe_parent(path: Path) -> bool:
    """Return True if what we make in *path* stays ours: only we can rename or remove it."""
    try:
        status = path.stat()
        if not stat.S_ISDIR(status.st_mode) or not os.access(path, os.W_OK | os.X_OK):
            return False
        others_may_write = status.st_mode & 0o022
        sticky = status.st_mode & stat.S_ISVTX
        mine = status.st_uid in (os.geteuid(), 0) and bool(not others_may_write or sticky)
        return mine and not replaceable(path)
    except OSError:
        return False


def replaceable(path: Path) -> str:
    """Return how another user could put something else in the place of *path*; empty if not.

    It need not be there yet, nor the directory of it.

    Raises:
        OSError: that cannot be looked at.
    """
    for each in {*path.parents, *Path(os.path.realpath(path)).parents}:
        try:
            above = each.stat()
        except FileNotFoundError:
            continue
        mode, owner = above.st_mode, above.st_uid
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return f"every user can replace what is in {each} (mode {stat.S_IMODE(mode):o})"
        if owner not in (os.geteuid(), 0, _UNMAPPED):
            return f"user {owner} can replace what is in {each}, as its owner"
    for each in (path, *path.parents):
        try:
            link = each.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISLNK(link.st_mode) and link.st_uid not in (os.geteuid(), 0, _UNMAPPED):
            return f"user {link.st_uid} can change where {each} leads to"
    return ""


def open_emptied(path: str, access: int) -> int:
    """Open *path* to write, made or emptied, without waiting; return the descriptor, as it is.

    In a directory where everybody may write, nothing of another user's is opened or followed but
    what is the directory's owner's; nor is a link in a directory of another user's there. The
    rules are those of the kernel's protected_symlinks, protected_fifos and protected_regular
    (linux/Documentation/admin-guide/sysctl/fs.rst), for each part of the path.

    Raises:
        OSError: it cannot be written, or is another user's.
    """
    flags = access | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    place = _find(path)
    try:
        follow = 0 if place.by_kernel else os.O_NOFOLLOW
        try:
            descriptor = os.open(place.name, flags | follow, 0o666, dir_fd=place.directory)
        except OSError as error:
            if error.errno == errno.ELOOP and follow:  # it has come meanwhile
                raise _another_users(path) from None
            raise OSError(error.errno, error.strerror, path) from None
        try:
            found, above = os.fstat(descriptor), os.fstat(place.directory)
            if above.st_mode & stat.S_IWOTH and found.st_uid not in (os.geteuid(), above.st_uid):
                raise _another_users(path)
            if stat.S_ISREG(found.st_mode):
                os.ftruncate(descriptor, 0)
        except OSError:
            os.close(descriptor)
            raise
    finally:
        os.close(place.directory)
    return descriptor


def _find(path: str) -> "_Place":
    """Walk along *path*; return the place that it leads to, whose directory the caller closes.

    Raises:
        OSError: there is no such directory, or another user could lead us anywhere.
    """
    walk = _Walk(path)
    try:
        while (place := walk.step()) is None:
            pass
    except BaseException:
        os.close(walk.directory)
        raise
    return place


class _Place(NamedTuple):
    """A name that is no link, in a directory that is open; or a link that the kernel follows."""

    directory: int
    name: str
    by_kernel: bool = False


class _Walk:
    """Walk along a path: the directory where it is, and the parts that are left, the last first."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._parts = path.split("/")[::-1]
        self._links = 0
        # True in a directory of another user's, in one where everybody may write.
        self._in_others = False
        self._proc = _device("/proc")
        self.directory = os.open("/" if path.startswith("/") else ".", _DIRECTORY)

    def step(self) -> _Place | None:
        """Take the next part; return the place if it was the last."""
        name = self._parts.pop() or "."
        try:
            found = os.open(name, _LOOK, dir_fd=self.directory)
        except FileNotFoundError:
            if not self._parts:
                return _Place(self.directory, name)
            raise
        try:
            return self._take(name, found)
        finally:
            os.close(found)

    def _take(self, name: str, found: int) -> _Place | None:
        status, above = os.fstat(found), os.fstat(self.directory)
        last, shared = not self._parts, bool(above.st_mode & stat.S_IWOTH)
        theirs = shared and status.st_uid not in (os.geteuid(), above.st_uid)
        if not stat.S_ISLNK(status.st_mode):
            if last:
                return _Place(self.directory, name)
            self._in_others |= theirs
            self._enter(os.dup(found))
        elif status.st_dev == self._proc:  # such a link is more than its text
            if last:
                return _Place(self.directory, name, by_kernel=True)
            self._enter(os.open(name, _DIRECTORY, dir_fd=self.directory))
        elif theirs or self._in_others or (shared and not above.st_mode & stat.S_ISVTX):
            raise _another_users(self._path)
        else:
            self._follow(os.readlink("", dir_fd=found))
        return None

    def _follow(self, target: str) -> None:
        self._links += 1
        if self._links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), self._path)
        self._parts += target.split("/")[::-1]
        if target.startswith("/"):
            self._enter(os.open("/", _DIRECTORY))

    def _enter(self, directory: int) -> None:
        os.close(self.directory)
        self.directory = directory


def _device(path: str) -> int:
    try:
        return os.stat(path).st_dev
    except OSError:
        return -1


def _another_users(path: str) -> PermissionError:
    why = "is another user's, or could be, in a directory where everybody may write"
    return PermissionError(errno.EACCES, f"{why}; choose another name", path)
