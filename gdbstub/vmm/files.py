"""Files that options name, with one clear line for each error.

It looks at no content.
"""

import errno
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Final, NamedTuple

from gdbstub.errors import InputError
from gdbstub.others import open_emptied
from gdbstub.vmm.size import format_figure, format_size

#: Time that the other end of a FIFO has to come, and the pause between two looks, in seconds.
_FIFO_SECONDS: Final = 3.0
_LOOK_SECONDS: Final = 0.05
#: Bytes that are read at once of what has no size.
_PIECE: Final = 1 << 16


class Bound(NamedTuple):
    """Bound of the bytes that are read of a file."""

    size: int
    #: Name of what has this size, for the message.
    of: str
    #: Bytes more that are read all the same, for a better message than this one.
    more: int = 0
    #: Beginning of files that are read whole.
    unless: bytes = b""

    def check(self, name: str, size: int, beginning: bytes) -> None:
        """Check *size* bytes of the file *name*, of which there may be more.

        Raises:
            InputError: they are too many.
        """
        if size > self.size + self.more and not (self.unless and beginning.startswith(self.unless)):
            raise InputError(
                f"{name}: has {format_figure(size)} or more; expected at most "
                f"{format_size(self.size)}, {self.of}"
            )


_UNBOUNDED: Final = Bound(sys.maxsize, "")


def read_input(path: Path, option: str = "", bound: Bound = _UNBOUNDED) -> bytes:
    """Read all of the regular file or pipe at *path*; *option* named it, for the message.

    Raises:
        InputError: no such file, no permission, a directory, a device, more than the *bound*.
    """
    name = f"{option} {path}".lstrip()
    with _explained(name):
        mode = _check_kind(path, option)
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", 0) as file:
            if stat.S_ISFIFO(mode):
                return _read_fifo(file, name, bound)
            if not (size := os.fstat(file.fileno()).st_size):  # as files of /proc have
                return _read_all(file, name, bound)
            bound.check(name, size, os.pread(file.fileno(), len(bound.unless), 0))
            return file.read()


def _read_all(file: FileIO, name: str, bound: Bound, beginning: bytes = b"") -> bytes:
    """Read to the end of *file*, whose size nobody knows, and whose *beginning* was read."""
    data = bytearray(beginning)
    while part := file.read(_PIECE):
        data += part
        bound.check(name, len(data), bytes(data[:16]))
    if part is None:
        raise InputError(f"{name}: has nothing to read now; expected a file that is whole")
    return bytes(data)


def check_input(path: Path, option: str) -> None:
    """Check that *path* can be read, for a file that is read elsewhere, or again.

    Raises:
        InputError: as ``read_input``.
    """
    with _explained(f"{option} {path}"):
        if stat.S_ISFIFO(_check_kind(path, option)):
            raise InputError(f"{option} {path}: is a FIFO, which is read once; expected a file")
        if not os.access(path, os.R_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def check_output(name: str, option: str) -> None:
    """Check that a file of this *name* can be written; it is not made.

    Raises:
        InputError: it cannot.
    """
    if not name:
        raise InputError(f"{option}: a file's name is missing")
    with _explained(f"{option} {name}"):
        place: str | Path = name
        try:
            mode = os.stat(name).st_mode
        except FileNotFoundError:
            place = Path(name).parent
            mode = os.stat(place).st_mode
        else:
            if stat.S_ISDIR(mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if stat.S_ISSOCK(mode) or stat.S_ISBLK(mode):
                what = "a socket" if stat.S_ISSOCK(mode) else "a block device"
                raise InputError(
                    f"{option} {name}: is {what}; expected a file, a FIFO or a terminal"
                )
        if not os.access(place, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def check_apart(
    inputs: Iterable[tuple[str, Path | str | None]], outputs: Mapping[str, str | None]
) -> None:
    """Check that no file of *outputs*, by option, is one of *inputs* or another output.

    Raises:
        InputError: one is, by whatever name, and would be lost. Devices and FIFOs may be shared.
    """
    taken: dict[tuple[int, int, str], tuple[str, str]] = {}
    for option, name in outputs.items():
        if name and (place := _place_of(name)):
            other, _ = taken.setdefault(place, (option, name))
            if other != option:
                raise InputError(f"{option} {name}: is the file of {other}; expected another")
    for other, path in inputs if taken else ():
        if path and (place := _place_of(path)) and place in taken:
            option, name = taken[place]
            raise InputError(f"{option} {name}: is the file of {other}; expected another")


def _place_of(name: Path | str) -> tuple[int, int, str] | None:
    """Return what all names of a file have in common; None of what is no regular file.

    Of a file that is not there yet, that is its directory and its name there.
    """
    try:
        with suppress(FileNotFoundError):
            status = os.stat(name)
            return (status.st_dev, status.st_ino, "") if stat.S_ISREG(status.st_mode) else None
        parent, base = os.path.split(os.path.realpath(name))
        status = os.stat(parent)
    except (OSError, ValueError):  # what uses it says why
        return None
    return status.st_dev, status.st_ino, base


def open_written(name: str, option: str) -> int:
    """Open the file, FIFO or terminal *name* to write, made or emptied; the caller closes it.

    Raises:
        InputError: it cannot be written, or nobody reads the FIFO.
    """
    deadline = time.monotonic() + _FIFO_SECONDS
    shown = f"{option} {name}".lstrip()
    while True:
        try:
            fd = open_emptied(name, os.O_WRONLY)
        except OSError as error:
            if error.errno != errno.ENXIO or not Path(name).is_fifo():
                raise InputError(f"{shown}: {error.strerror}") from None
            if time.monotonic() > deadline:
                import shlex  # not at the top: a start is faster without

                raise InputError(
                    f"{shown}: is a FIFO that nobody has opened to read in {_FIFO_SECONDS:g} s; "
                    f"expected a reader, such as: cat {shlex.quote(name)}"
                ) from None
            time.sleep(_LOOK_SECONDS)
        else:
            os.set_blocking(fd, True)
            return fd


def _read_fifo(file: FileIO, name: str, bound: Bound) -> bytes:
    """Read all that the writer of a FIFO writes. A shell's ``<(command)`` is one."""
    deadline = time.monotonic() + _FIFO_SECONDS
    # Without a writer a read is at an end; with one that has written nothing, it is None.
    while (data := file.read(_PIECE)) == b"":
        if time.monotonic() > deadline:
            raise InputError(
                f"{name}: is a FIFO that nobody has opened to write in {_FIFO_SECONDS:g} s; "
                "expected a writer, or a file"
            )
        time.sleep(_LOOK_SECONDS)
    os.set_blocking(file.fileno(), True)
    return _read_all(file, name, bound, data or b"")


def _check_kind(path: Path, option: str) -> int:
    """Return the mode of *path*, of which all can be read."""
    name = f"{option} {path}".lstrip()
    # Asked first: opening a directory fails late, and reading a device may never end.
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise InputError(f"{name}: is a directory; expected a file")
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        raise InputError(f"{name}: is not a regular file")
    return mode


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{name}: {why or error}") from error
