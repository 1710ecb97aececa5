"""Checksums of a directory's files, in a file beside them.

They are against damage: a crash, a full disk, a hand that deletes. They protect from no attacker.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

from gdbstub.lab import private


def record(directory: Path, name: str) -> None:
    """Write the checksums of everything in *directory* to its file *name*."""
    rows = {each: _row(directory / each) for each in _names(directory, name)}
    (directory / name).write_text(json.dumps(rows))


def damage(directory: Path, name: str) -> str:
    """Return what is wrong in *directory*, in a few words; empty if all is as it was recorded.

    Files of the recorded size and time are not read.
    """
    try:
        with private.opened(directory / name) as file:
            rows = json.load(file)
        if text := next(filter(None, (_damage(directory, *row) for row in rows.items())), ""):
            return text
        unrecorded = next((each for each in _names(directory, name) if each not in rows), "")
        return f"{unrecorded} has no checksum" if unrecorded else ""
    except FileNotFoundError:
        return "it has no checksums"
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return "its checksums cannot be read"


def keep(path: Path, final: Path) -> None:
    """Move the one file *path* to *final*, with its checksum in a file beside it.

    Whoever is killed meanwhile leaves a checksum without a file, or one that does not match.
    """
    _beside(final).write_text(digest_of(path))
    shutil.move(path, final)


def matches(path: Path) -> bool:
    """Return True if the file *path* is as it was recorded, which it has to be."""
    try:
        digest = digest_of(path)
        with private.opened(_beside(path)) as file:
            return digest == file.read().decode()
    except (OSError, ValueError):
        return False


def _names(directory: Path, name: str) -> list[str]:
    """Return the relative names of all that is in *directory*, but for its own file *name*."""
    found = sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))
    return [each for each in found if each != name]


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _damage(directory: Path, name: str, row: dict[str, object]) -> str:
    """Return what is wrong with *name*.

    Raises:
        KeyError, TypeError: *row* has another shape than those of ``_row``.
    """
    path = directory / name
    try:
        status = path.lstat()
    except FileNotFoundError:
        return f"{name} is absent"
    if "link" in row or "directory" in row:
        return "" if _row(path) == row else f"{name} is another"
    if not path.is_file() or path.is_symlink():
        return f"{name} is no file"
    size, when, digest = row["size"], row["time"], row["sha256"]
    if status.st_size != size:
        return f"{name} has {status.st_size} bytes of {size}"
    if status.st_mtime_ns == when:
        return ""
    return "" if digest_of(path) == digest else f"{name} has other contents"


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
