"""The lab's cache without its snapshots, or with a copy of one that a test may damage."""

import os
import shutil
from pathlib import Path

from gdbstub.lab import cache, snapshot


def without_snapshots(home: Path) -> dict[str, str]:
    """Make a cache at *home* that shares all but snapshots; return the environment for it."""
    (home / "kvm-gdbstub").mkdir(parents=True)
    for entry in cache.root().iterdir():
        if not entry.name.startswith((snapshot.KIND, ".")) and entry.suffix != ".lock":
            (home / "kvm-gdbstub" / entry.name).symlink_to(entry)
    return {"XDG_CACHE_HOME": str(home)}


def copy_snapshot(made: Path, home: Path) -> Path:
    """Copy the snapshot *made* into the cache at *home*, its memory by a link; return it there."""
    copy = home / "kvm-gdbstub" / made.name
    copy.mkdir(mode=0o700)
    for path in made.iterdir():
        if path.name == "ram":
            (copy / "ram").symlink_to(path)
        else:
            shutil.copy(path, copy / path.name)
    return copy


def snapshots(home: Path) -> list[str]:
    """List the snapshots in the cache at *home*, finished and unfinished."""
    names = os.listdir(home / "kvm-gdbstub")
    return [name for name in names if snapshot.KIND in name and not name.endswith(".lock")]
