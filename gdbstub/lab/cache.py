"""Directories that are made once and kept: keyed by what they are made of, complete or absent.

It does not know what it keeps, and it never changes an entry once that has its name.
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
from pathlib import Path
from typing import Final

from gdbstub.errors import LabError
from gdbstub.lab.progress import note

UNUSED_SECONDS: Final = 7 * 24 * 3600
"""An entry that nobody has used for so long goes when a newer one of its kind is made."""


def root() -> Path:
    """Return the cache directory, made if need be (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    parent = Path(base) if base.startswith("/") else Path.home() / ".cache"
    path = parent / "kvm-gdbstub"
    with explained(path):
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    return path


def key_of(parts: Iterable[str | bytes]) -> str:
    """Hash *parts* so that no two different sequences of parts share a key."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(b"%d:" % len(data) + data)
    return digest.hexdigest()[:16]


def entry(kind: str, parts: Iterable[str | bytes], build: Callable[[Path], None]) -> Path:
    """Return the directory *kind*-KEY, calling *build* on an empty directory if it is absent.

    Two processes may ask at once: one builds, the other waits and says so. A builder that
    is killed leaves a directory that nobody takes for an entry; the next one removes it.
    """
    final = root() / f"{kind}-{key_of(parts)}"
    if final.is_dir():
        with suppress(OSError):  # a read-only cache serves just as well
            os.utime(final)
        return final
    with explained(final), locked(root() / f"{kind}.lock"):
        if not final.is_dir():
            sweep(kind, keep=final)
            _build(kind, final, build)
            sweep(kind, keep=final)  # a killed builder's programs may have written on
    return final


def _build(kind: str, final: Path, build: Callable[[Path], None]) -> None:
    work = Path(tempfile.mkdtemp(prefix=f".{kind}-", dir=final.parent))
    try:
        build(work)
        work.chmod(0o755)
        work.rename(final)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def sweep(kind: str, keep: Path) -> None:
    """Remove what killed builders left and what nobody uses any more; the lock is held."""
    for leftover in keep.parent.glob(f".{kind}-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    for old in keep.parent.glob(f"{kind}-*"):
        if old != keep and time.time() - old.stat().st_mtime > UNUSED_SECONDS:
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on *path*, waiting for its owner; the kernel frees a dead one's."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note(f"another process is preparing the {path.stem}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the errors of a full or unwritable disk into a line with the remedy."""
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
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR):
            raise LabError(
                f"cannot write to {path.parent} ({error.strerror}): "
                "set XDG_CACHE_HOME to a directory of yours"
            ) from error
        raise
