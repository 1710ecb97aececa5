"""Checksums of a directory's files, in a file beside them.

They are against damage: a crash, a full disk, a hand that deletes. They protect from no attacker.
"""

import hashlib
import json
import os
from pathlib import Path

from gdbstub.lab import private


def record(directory: Path, name: str) -> None:
    """Write the checksums of everything in *directory* to its file *name*."""
    rows = {
        str(path.relative_to(directory)): _row(path)
        for path in sorted(directory.rglob("*"))
        if path.name != name
    }
    (directory / name).write_text(json.dumps(rows))


def damage(directory: Path, name: str) -> str:
    """Return what is wrong in *directory*, in a few words; empty if all is as it was recorded.

    Files of the recorded size and time are not read.
    """
    try:
        with private.opened(directory / name) as file:
            rows = json.load(file)
        return next(
            (text for path, row in rows.items() if (text := _damage(directory, path, row))), ""
        )
    except FileNotFoundError:
        return "it has no checksums"
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return "its checksums cannot be read"


def record_file(path: Path) -> None:
    """Write the checksum of the one file *path* to a file beside it."""
    _beside(path).write_text(digest_of(path))


def matches(path: Path) -> bool:
    """Return True if the file *path* is as it was recorded; without a record it is taken so."""
    try:
        digest = digest_of(path)
        with private.opened(_beside(path)) as file:
            return digest == file.read().decode()
    except FileNotFoundError:
        return path.is_file() and path.stat().st_size > 0
    except (OSError, ValueError):
        return False


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _damage(directory: Path, name: str, row: dict[str, object]) -> str:
    path = directory / name
    try:
        status = path.lstat()
    except FileNotFoundError:
        return f"{name} is absent"
    if "link" in row or "directory" in row:
        return "" if _row(path) == row else f"{name} is another"
    if not path.is_file() or path.is_symlink():
        return f"{name} is no file"
    if status.st_size != row["size"]:
        return f"{name} has {status.st_size} bytes of {row['size']}"
    if status.st_mtime_ns == row["time"]:
        return ""
    return "" if digest_of(path) == row["sha256"] else f"{name} has other contents"


def _row(path: Path) -> dict[str, object]:
    if path.is_symlink():
        return {"link": os.readlink(path)}
    if path.is_dir():
        return {"directory": True}
    status = path.stat()
    return {"size": status.st_size, "time": status.st_mtime_ns, "sha256": digest_of(path)}


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a plain file, in hexadecimal.

    Raises:
        OSError: it is none, or cannot be read.
    """
    with private.opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
