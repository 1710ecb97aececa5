"""Snapshot of a booted lab: any number of labs are restored from one, in a tenth of a second.

It is an entry of the cache: the memory of the lab in a file that no restored lab changes, the rest
of its state, the key for its ssh, and a manifest. What a lab is given afterwards is not part of
it: the project's source of another time, the clock, and randomness.
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gdbstub.errors import LabError
from gdbstub.lab import (
    boot,
    cache,
    checksums,
    demo,
    directories,
    image,
    kernel,
    migration,
    prepared,
    private,
    qemu,
    tools,
)
from gdbstub.lab.host import Lab
from gdbstub.lab.processes import ProcessFiles
from gdbstub.lab.progress import Steps

KIND: Final = "snapshot"
NEEDED_BYTES: Final = 1 << 30
"""Free space without which no snapshot is begun; one takes about 310 MB."""

MANIFEST: Final = "manifest.json"
PRIVATE: Final = 0o700


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Files of one snapshot, and what its manifest says of them."""

    directory: Path
    state_digest: str
    key_digest: str
    ram_bytes: int
    ram_mtime_ns: int
    #: Digest of the project's source in it.
    source: str

    @property
    def ram(self) -> Path:
        """File with the lab's memory."""
        return self.directory / "ram"

    @property
    def key(self) -> Path:
        """Private key of the lab's ssh."""
        return self.directory / "key"

    @classmethod
    def read(cls, directory: Path) -> "Snapshot":
        """Read the manifest in *directory*.

        Raises:
            LabError: it cannot be read.
        """
        try:
            with private.opened(directory / MANIFEST) as file:
                fields = json.load(file)
            return cls(
                directory,
                str(fields["state_digest"]),
                str(fields["key_digest"]),
                int(fields["ram_bytes"]),
                int(fields["ram_mtime_ns"]),
                str(fields["source"]),
            )
        except (
            OSError,
            ArithmeticError,
            LookupError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            raise LabError(f"its {MANIFEST} cannot be read") from error

    def is_there(self) -> bool:
        """Return True if this very snapshot is in its directory, damaged or not."""
        with suppress(LabError):
            return self.read(self.directory) == self
        return True  # what is there has no manifest

    def state(self) -> bytes:
        """Return the state of the lab's hardware.

        Raises:
            LabError: it is not what was saved.
        """
        try:
            with private.opened(self.directory / "state") as file:
                data = file.read()
        except OSError as error:
            raise LabError(f"its state cannot be read: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != self.state_digest:
            raise LabError(f"its state of {len(data)} bytes is not the one that was saved")
        return data

    def check(self) -> None:
        """Check that the files are those that were saved.

        Raises:
            LabError: they are not, or somebody else's, or open to somebody else.
        """
        if not directories.is_private(self.directory):
            raise LabError("its directory is not this user's alone")
        try:
            status = self.ram.stat()
            digest = checksums.digest_of(self.key)
        except FileNotFoundError as error:
            raise LabError(f"{Path(error.filename).name} is absent") from error
        except OSError as error:
            raise LabError(f"its ssh key cannot be read: {error.strerror}") from error
        if digest != self.key_digest:
            raise LabError("its ssh key is not the one that was saved")
        # Hashing it would take a second. Nobody writes to it, so its time stays as it is.
        if status.st_size != self.ram_bytes:
            raise LabError(f"its memory has {status.st_size} of {self.ram_bytes} bytes")
        if status.st_mtime_ns != self.ram_mtime_ns:
            raise LabError("its memory was written to")
        self.state()


def prepare(options: qemu.Options) -> Snapshot:
    """Return the snapshot of a lab with *options*; the first call makes it in a quarter minute.

    Raises:
        LabError: it cannot be made.
    """
    parts = list(key_parts(options))
    made = cache.entry(KIND, parts, lambda work: _make(options, work), fault=fault, mode=PRIVATE)
    return Snapshot.read(made)


def fault(directory: Path) -> str:
    """Return what is wrong with the snapshot in *directory*; empty if nothing is."""
    try:
        Snapshot.read(directory).check()
    except LabError as error:
        return str(error)
    return ""


def key_parts(options: qemu.Options) -> Iterator[str | bytes]:
    """Yield all that a snapshot depends on: QEMU, its command line, image, kernel, and our code."""
    built = image.prepare(options.suite)
    yield tools.run([qemu.PROGRAM, "--version"])
    # The entries' names are their keys. Where the cache or a lab is makes no difference.
    yield built.kernel.parent.name
    yield built.initrd.parent.name
    wiring = qemu.Wiring(Path("/"), 0, 0)
    start = qemu.boot_arguments(options, Path("/"), Path("/"))
    yield from qemu.command_line(options, wiring, start, qemu.Ram(Path("/"), shared=True))
    for module in (prepared, boot, migration):
        yield Path(module.__file__ or "").read_bytes()
    yield Path(__file__).read_bytes()


def _make(options: qemu.Options, work: Path) -> None:
    if (free := shutil.disk_usage(work).free) < NEEDED_BYTES:
        raise LabError(
            f"{work.parent} has {free >> 20} MB left, and a snapshot takes {NEEDED_BYTES >> 20}"
        )
    ram = work / "ram"
    ram.touch(0o600)
    with Lab.of(boot.start(options, qemu.Ram(ram, shared=True))) as lab:
        try:
            state = _save(lab)
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode(errors="replace").strip().splitlines() or [str(error)]
            raise LabError(f"a command in the lab failed: {said[-1]}") from error
        except subprocess.TimeoutExpired as error:
            raise LabError(f"a command in the lab failed: {error}") from error
        source = ProcessFiles(lab.directory).source.read_text(errors="replace")
        shutil.copy(lab.directory / "key", work / "key")
    _write(work / "state", state)
    with ram.open("rb") as file:
        os.fsync(file.fileno())
    status = ram.stat()
    fields = {
        "state_digest": hashlib.sha256(state).hexdigest(),
        "key_digest": checksums.digest_of(work / "key"),
        "ram_bytes": status.st_size,
        "ram_mtime_ns": status.st_mtime_ns,
        "source": source,
    }
    _write(work / MANIFEST, json.dumps(fields).encode())


def _save(lab: Lab) -> bytes:
    """Prepare *lab* to be restored; halt it, and return its state."""
    monitor = ProcessFiles(lab.directory).monitor
    migration.check(monitor)
    with Steps("saving the lab, for faster starts", 2) as steps:
        steps.step("preparing a process (about 4 s)")
        lab.run([prepared.START])
        for path in (kernel.prepare().image, demo.initrd()):
            lab.put(path)  # for the default guest, which then need not be copied
        steps.step("writing it to the cache")
        lab.run(["sh", "-c", f"echo 3 >/proc/sys/vm/drop_caches; touch {prepared.SAVED}"])
        return migration.save(monitor, lab.directory)


def _write(path: Path, data: bytes) -> None:
    """Write *data* to *path*, and to the disk: a name must not outlive the content."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
