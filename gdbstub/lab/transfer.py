"""Files on their way into a lab: offered in its outbox, and fetched by a script there."""

import re
import secrets
from pathlib import Path
from typing import Final, NamedTuple

from gdbstub.errors import LabError
from gdbstub.lab.processes import ProcessFiles

PROGRESS: Final = re.compile(rb"gdbstub: (copying .*)\n")
"""Line of the script that shows how far a large file is."""


class Offer(NamedTuple):
    """One offered file; the caller removes ``link`` when the file is fetched."""

    link: Path
    #: Path of the file in the lab.
    target: str
    #: Command that fetches it there.
    command: list[str]


def offer(lab: Path, path: Path, directory: str | None = None) -> Offer:
    """Offer *path* to the lab whose directory is *lab*.

    Without *directory* the target is derived from the file's inode, time and size, and an
    unchanged file is not copied again.

    Raises:
        LabError: there is no such file.
    """
    if not path.is_file():
        raise LabError(f"no such file: {path}")
    status = path.stat()
    name = f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
    target = f"{directory or f'/put/{name}'}/{path.name}"
    link = ProcessFiles(lab).outbox / f"{name}.{secrets.token_hex(4)}"
    link.symlink_to(path.resolve())
    kept = "" if directory else "kept"
    size, mode = str(status.st_size), f"{status.st_mode & 0o777:o}"
    return Offer(link, target, ["/lab/fetch", link.name, target, size, mode, kept])
