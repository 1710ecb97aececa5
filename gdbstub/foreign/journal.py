"""Journal: a record of the patches in a foreign guest that outlives a killed debugger.

A file a VMM, locked while its debugger lives. Its first line has the process, its RAM and the
protection that the VMM has given that; then a line for each patch written and removed. Killed
processes lose no line: no power failure is survived, nor does the guest survive one.
"""

import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import starmap
from pathlib import Path
from typing import Final, Self

from gdbstub.errors import InputError, MachineError
from gdbstub.foreign.memory import MemorySlot, RamArea
from gdbstub.foreign.patches import Patch
from gdbstub.foreign.process import VmmProcess
from gdbstub.others import is_safe_parent, temporary_places

_SUFFIX: Final = ".journal"
#: Size of a file that is worth rewriting, in bytes.
_ROOM: Final = 1 << 16


def _line(ipa: int, patch: Patch) -> str:
    return f"+ {ipa:x} {patch.original.hex()} {patch.written.hex()}"


def _locked(path: Path, pid: int) -> int:
    """Open and lock the journal *path*; return -1 if the one that was opened is gone.

    Raises:
        InputError: another debugger has it.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise InputError(
            f"process {pid} is being debugged by another gdbstub; end that first"
        ) from None
    with suppress(FileNotFoundError):
        if os.path.samestat(os.lstat(path), os.fstat(fd)):
            return fd
    os.close(fd)  # the debugger before has ended in between, and removed it
    return -1


def directory() -> Path:
    """Return the directory of this user's journals; make it if need be.

    Raises:
        InputError: somebody else has made it, or could replace it.
    """
    places = temporary_places()
    if os.geteuid() == 0:
        places = [Path("/run"), *places]
    parent = next(filter(is_safe_parent, places), None)
    if parent is None:
        names = " or ".join(map(str, dict.fromkeys(places)))
        raise InputError(
            f"other users could replace a journal in {names}, or it cannot be written: set "
            "XDG_RUNTIME_DIR to a directory of yours alone"
        )
    path = parent / f"gdbstub-{os.geteuid()}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
    except OSError as error:
        raise InputError(
            f"{path} ({error.strerror}) must be a directory of this user alone; remove it, or set "
            "XDG_RUNTIME_DIR"
        ) from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise InputError(f"{path} must be a directory of this user alone; remove it")
    return path


class Journal:
    """The journal of one VMM, held by this process. A ``PatchLog``."""

    def __init__(self, process: VmmProcess) -> None:
        """Open and lock the journal of *process*; read what a killed debugger has left in it.

        Raises:
            InputError: another debugger has it, or it is damaged.
        """
        self.path = directory() / f"{process.pid}-{process.start_time}{_SUFFIX}"
        #: The file that is to take its place.
        self._new = self.path.with_suffix(".new")
        self._pid = process.pid
        self._first = ""
        #: The patches in RAM; the size of the file, and the one at which it is rewritten.
        self._patches: dict[int, Patch] = {}
        self._size, self._most = 0, _ROOM
        self._fd = -1
        while self._fd < 0:
            self._fd = _locked(self.path, process.pid)
        #: The slots of RAM and the patches, of the debugger before.
        self.slots: tuple[MemorySlot, ...] = ()
        #: The VMM's mappings that have it, as they were.
        self.areas: tuple[RamArea, ...] = ()
        self.left: dict[int, Patch] = {}
        #: True if a debugger before has not ended in good order.
        self.stale = os.fstat(self._fd).st_size > 0
        if self.stale:
            try:
                self._read()
            except InputError:
                self.close()
                raise

    @classmethod
    def exists(cls, process: VmmProcess) -> bool:
        """Return True if there is a journal of *process*."""
        return (directory() / f"{process.pid}-{process.start_time}{_SUFFIX}").exists()

    @classmethod
    def stale_processes(cls) -> Iterator[VmmProcess]:
        """List the processes whose debugger has ended without its journal's end."""
        for path in directory().glob(f"[0-9]*-*[0-9]{_SUFFIX}"):
            pid, _, start = path.name.removesuffix(_SUFFIX).partition("-")
            process = VmmProcess(int(pid))
            try:
                if process.start_time == int(start):
                    with cls(process) as journal:
                        stale = journal.stale
                    if stale:
                        yield process
                    continue
            except InputError:  # another debugger has it, or the process has ended
                if process.threads():
                    continue
            path.unlink(missing_ok=True)

    def _read(self) -> None:
        # A line that was cut short is of a patch that was not written, or of one that is gone.
        *lines, _ = os.pread(self._fd, os.fstat(self._fd).st_size, 0).split(b"\n")
        if not lines:
            self.stale = False
            return
        try:
            facts = json.loads(lines[0])
            self.slots = tuple(MemorySlot(*slot) for slot in facts["slots"])
            # A gdbstub before this one wrote none.
            self.areas = tuple(RamArea(*area) for area in facts.get("areas", ()))
            for line in lines[1:]:
                match line.decode().split():
                    case ["+", ipa, *words]:
                        self.left[int(ipa, 16)] = Patch(*map(bytes.fromhex, words))
                    case ["-", ipa]:
                        self.left.pop(int(ipa, 16), None)
        except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
            raise InputError(
                f"{self.path} is damaged: what a killed debugger has left in process {self._pid} "
                "is not known; remove the file and reset that guest"
            ) from None

    def begin(self, slots: Sequence[MemorySlot], areas: Sequence[RamArea]) -> None:
        """Begin anew, with these *slots* and *areas*; nothing is left of a debugger before."""
        os.ftruncate(self._fd, 0)
        self._patches.clear()
        self._size, self._most = 0, _ROOM
        self._first = json.dumps({"pid": self._pid, "slots": slots, "areas": areas})
        self._write(self._first)
        self.stale = False

    def patched(self, ipa: int, patch: Patch) -> None:
        """Note a patch that is about to be written (``PatchLog``).

        Raises:
            MachineError: there is no room.
        """
        self._write(_line(ipa, patch))
        self._patches[ipa] = patch
        if self._size > self._most:
            self._rewrite()

    def restored(self, ipa: int) -> None:
        """Note that a patch is gone (``PatchLog``). Without room, it will be looked for in vain."""
        self._patches.pop(ipa, None)
        with suppress(MachineError):
            self._write(f"- {ipa:x}")

    def _rewrite(self) -> None:
        """Leave out the patches that are gone: in a new file, which then has the old one's name."""
        lines = (self._first, *starmap(_line, self._patches.items()), "")
        new, data = self._new, "\n".join(lines).encode()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with suppress(OSError):
            fd = os.open(new, flags, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.write(fd, data) == len(data):
                    os.replace(new, self.path)
                    fd, self._fd = self._fd, fd
                    self._size = len(data)
            finally:
                os.close(fd)
        self._most = _ROOM + 2 * self._size

    def _write(self, line: str) -> None:
        data = line.encode() + b"\n"
        try:
            written = os.write(self._fd, data)
        except OSError as error:
            raise MachineError(f"{self.path} cannot be written: {error.strerror}") from None
        if written < len(data):  # the next line must not be a part of this one
            os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
            raise MachineError(f"{self.path} cannot be written: {os.strerror(errno.ENOSPC)}")
        self._size += written

    def end(self) -> None:
        """Remove the file: nothing is left in the guest. Idempotent."""
        if self._fd >= 0:
            self.path.unlink(missing_ok=True)
            self._new.unlink(missing_ok=True)
            self.close()

    def close(self) -> None:
        """Unlock the file, and leave it, unless nothing is in it. Idempotent."""
        if self._fd >= 0:
            if not os.fstat(self._fd).st_size:
                self.path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
