"""Reading a file that a person named, with one clear line for whatever goes wrong.

It looks at no content.
"""

import stat
from pathlib import Path

from gdbstub.errors import InputError


def read_input(path: Path, option: str = "") -> bytes:
    """All of the regular file or pipe at *path*; *option* is what named it, for the message.

    Raises:
        InputError: no such file, no permission, a directory, a device.
    """
    name = f"{option} {path}".lstrip()
    try:
        # Asked first: opening a directory fails late, and reading a device may never end.
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{name}: is a directory; expected a file")
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            raise InputError(f"{name}: is not a regular file")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{name}: {why or error}") from error
