"""Start of a lab from a snapshot; with a cold boot where there can be none."""

import os
import shutil
import time
from typing import Final

from gdbstub.errors import LabError
from gdbstub.lab import boot, cache, image, migration, prepared, qemu, snapshot, tools
from gdbstub.lab.processes import LabProcesses, ProcessFiles
from gdbstub.streams import note

SEED_BYTES: Final = 64


def start(options: qemu.Options) -> LabProcesses:
    """Start a lab by the fastest way that *options* allow; the first time makes a snapshot.

    Raises:
        LabError: a program is missing, the image cannot be built, or the boot fails.
    """
    tools.require(qemu.PROGRAM, "ssh", "ssh-keygen", "cpio")
    tools.require_module("qemu.qmp")
    image.prepare(options.suite)  # what fails here would fail again in a cold boot
    if options.vhe:
        return boot.start(options)
    try:
        return _restored(options)
    except LabError as error:
        note(f"the lab boots without a snapshot: {error}")
        return boot.start(options)


def _restored(options: qemu.Options) -> LabProcesses:
    """Restore the lab; make its snapshot anew, once, if QEMU cannot use it.

    Raises:
        LabError: no snapshot can be made or used.
    """
    saved = snapshot.prepare(options)
    try:
        return restore(options, saved)
    except LabError as error:
        note(f"the lab's snapshot cannot be used ({error}): it is made anew")
        cache.discard(saved.directory, saved.is_there)
    return restore(options, snapshot.prepare(options))


def restore(options: qemu.Options, saved: snapshot.Snapshot) -> LabProcesses:
    """Start a lab as it was in *saved*, with a memory, a clock and randomness of its own.

    Raises:
        LabError: the snapshot is damaged, or QEMU cannot use it.
    """
    state = saved.state()
    ram = qemu.Ram(saved.ram, shared=False)
    processes = LabProcesses.prepare(
        lambda wiring: qemu.command_line(options, wiring, [*qemu.INCOMING], ram)
    )
    files = ProcessFiles(processes.directory)
    try:
        with cache.explained(processes.directory):
            shutil.copy(saved.key, processes.directory / "key")
            files.source.write_text(saved.source)
            now = time.time_ns().to_bytes(8, "little")
            (files.outbox / prepared.ENTRY).write_bytes(now + os.urandom(SEED_BYTES))
            processes.go()
            processes.reach(migration.load(files.monitor, processes.directory, state))
            processes.console.close()
    except BaseException:
        processes.stop()
        raise
    return processes
