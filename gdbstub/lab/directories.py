"""Private directories of running labs: one for each, locked while its guard or owner lives."""

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from gdbstub.errors import LabError
from gdbstub.lab import private
from gdbstub.others import temporary_places

PREFIX: Final = "kvm-gdbstub-lab-"
UNCLAIMED_SECONDS: Final = 600.0
"""Age from which a directory without a running guard is removed."""


def claim() -> tuple[Path, int]:
    """Make a private directory and lock it against ``remove_stale``.

    Raises:
        LabError: there is no place for one.
    """
    parent = private.place()
    try:
        directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        lock = private.open_lock(directory / "lock")
    except OSError as error:
        raise LabError(
            f"cannot make a directory in {parent} ({error.strerror}): set XDG_RUNTIME_DIR to a "
            "directory of yours with some space"
        ) from None
    fcntl.flock(lock, fcntl.LOCK_EX)
    return directory, lock


def own() -> Iterator[Path]:
    """Yield this user's lab directories, where ``claim`` makes them now, oldest first."""
    with suppress(LabError):
        found = [path for path in private.place().glob(f"{PREFIX}*") if is_private(path)]
        yield from sorted(found, key=age, reverse=True)


def is_private(directory: Path) -> bool:
    """Return True if *directory* is this user's, and nobody else may enter it."""
    with suppress(OSError):
        status = directory.lstat()
        mine = status.st_uid == os.getuid() and not status.st_mode & 0o077
        return mine and stat.S_ISDIR(status.st_mode)
    return False


def age(directory: Path) -> float:
    """Return the seconds since *directory* was last changed; 0 if it is gone."""
    with suppress(OSError):
        return time.time() - directory.stat().st_mtime
    return 0.0


def remove_unheld(directory: Path) -> bool:
    """Remove *directory* if neither a guard nor an owner holds its lock; return True if so."""
    with suppress(OSError):
        private.remove_unclaimed(directory, "lock", 0)
    return not directory.exists()


def remove_stale() -> None:
    """Remove the directories of labs whose guard and owner were both killed."""
    for parent in temporary_places():
        for directory in parent.glob(f"{PREFIX}*"):
            with suppress(OSError):
                private.remove_unclaimed(directory, "lock", UNCLAIMED_SECONDS)
