"""Cache of built directories: each has a key made of its inputs, and is complete or absent.

An entry is never changed once it has its name; one that is damaged since is made again. The cache
does not know what an entry holds.
"""

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

from gdbstub.errors import LabError
from gdbstub.lab import checksums, private
from gdbstub.streams import note

UNUSED_SECONDS: Final = 7 * 24 * 3600
"""Age since its last use from which an entry is removed when another of its kind is made."""


_REMEDY: Final = "set XDG_CACHE_HOME to a directory of yours"

CHECKSUMS: Final = "checksums.json"
"""File of each entry with the checksums of the others."""


def root() -> Path:
    """Return the cache directory; create it if absent (XDG Base Directory Specification)."""
    path = _parent() / "kvm-gdbstub"
    with explained(path):
        private.check_place(path, _REMEDY)  # before something of ours is there
        for each in (*reversed(path.parents), path):
            # Whatever the umask is, nobody else may replace what is in it.
            each.mkdir(mode=0o755 if each == path else 0o700, exist_ok=True)
        private.check_own(path, _REMEDY)
    return path


def _parent() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not base.startswith("/") and os.environ.get("HOME") != "":  # which would be the root
        base = os.path.expanduser("~/.cache")
    if not base.startswith("/"):
        raise LabError(
            f"{base!r} would be the directory for caches: set HOME, or XDG_CACHE_HOME, to an "
            "absolute path"
        )
    if _is_callers(Path(base)):
        import pwd  # not often

        with suppress(KeyError):  # a user without a name has no home, and is refused
            base = os.path.join(pwd.getpwuid(os.geteuid()).pw_dir, ".cache")
    return Path(base)


def _is_callers(path: Path) -> bool:
    """Return True if *path* is, or would be, the caller's of ``sudo -E``, who is another user."""
    caller = os.environ.get("SUDO_UID")
    if caller is None or caller == str(os.geteuid()):
        return False
    nearest = next(each for each in (path, *path.parents) if each.exists())
    return str(nearest.stat().st_uid) == caller


def key_of(parts: Iterable[str | bytes]) -> str:
    """Hash *parts* to a key of 16 hexadecimal digits; the boundaries of the parts count."""
    digest = hashlib.sha256()
    for part in parts:
        # A name of a file may have bytes that are not UTF-8.
        data = part.encode(errors="surrogatepass") if isinstance(part, str) else part
        digest.update(b"%d:" % len(data) + data)
    return digest.hexdigest()[:16]


def entry(
    kind: str,
    parts: Iterable[str | bytes],
    build: Callable[[Path], None],
    *,
    fault: Callable[[Path], str] | None = None,
    mode: int = 0o755,
) -> Path:
    """Return the directory *kind*-KEY; if absent or damaged, call *build* with an empty directory.

    *mode* is that of the directory.

    If two processes ask at once, one builds and the other waits with a message. A builder that
    is killed leaves a directory with another name, which the next builder removes. An entry with
    a *fault*, in a few words, is built anew; by default checksums tell.

    Raises:
        LabError: the cache cannot be written, or *build* failed.
    """
    wrong = fault or partial(checksums.damage, name=CHECKSUMS)
    # The name of the file of checksums is a part: entries without them are others.
    final = root() / f"{kind}-{key_of([CHECKSUMS, *parts])}"
    if final.is_dir() and not wrong(final):
        with suppress(OSError):  # a read-only cache serves just as well
            os.utime(final)
        return final
    with explained(final), locked(root() / f"{kind}.lock"):
        what = wrong(final) if final.is_dir() else "it is no directory"
        if what and os.path.lexists(final):
            note(f"the cache's {final.name} is damaged ({what}): it is made again")
            private.remove(final)
        if not final.is_dir():
            remove_stale(kind, keep=final)
            _build(kind, final, build, mode, checked=fault is None)
            remove_stale(kind, keep=final)  # a killed builder's programs may have written on
    return final


def discard(path: Path, is_it: Callable[[], bool]) -> None:
    """Remove an entry that its user has found to be unusable, if *is_it* still that one.

    Another process may have made it anew.
    """
    kind = path.name.rpartition("-")[0]
    with explained(path), locked(root() / f"{kind}.lock"):
        if is_it():
            private.remove(path)


def _build(
    kind: str, final: Path, build: Callable[[Path], None], mode: int, *, checked: bool
) -> None:
    work = Path(tempfile.mkdtemp(prefix=f".{kind}-", dir=final.parent))
    try:
        build(work)
        if checked:
            checksums.record(work, CHECKSUMS)
        work.chmod(mode)
        work.rename(final)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def remove_stale(kind: str, keep: Path) -> None:
    """Remove directories of killed builders and unused entries; the caller holds the lock."""
    for leftover in keep.parent.glob(f".{kind}-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    for old in keep.parent.glob(f"{kind}-*"):
        if old != keep and time.time() - old.lstat().st_mtime > UNUSED_SECONDS:
            with suppress(OSError):
                private.remove(old)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on *path*; wait for its owner. The kernel frees a dead owner's."""
    lock = private.open_lock(path)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note(f"another process is preparing the {path.stem}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Convert errors of a full or unwritable disk to a ``LabError`` with the remedy."""
    full = f"the disk is full: free about 1 GB for {path.parent}"
    try:
        yield
    except LabError as error:
        if os.strerror(errno.ENOSPC) in str(error):  # in the words of a program that we ran
            raise LabError(full) from error
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise LabError(full) from error
        raise LabError(
            f"cannot write to {path.parent} ({error.strerror or error}): {_REMEDY}"
        ) from error
