"""Labs that stay up for many runs: ``gdbstub lab up``, ``list`` and ``down``.

Such a lab's directory has a file with its options. Its guard ends it when QEMU ends.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final, NamedTuple

from gdbstub.errors import LabError
from gdbstub.lab import directories, monitor, restore
from gdbstub.lab.processes import ProcessFiles
from gdbstub.lab.qemu import Options
from gdbstub.streams import note

FILE: Final = "up.json"
DOWN_SECONDS: Final = 10.0
"""Longest wait for the guard to remove a lab's directory."""


class PersistentLab(NamedTuple):
    """A lab that is up, with its ``options`` as ``fields_of`` writes them.

    They are empty if its file is damaged. ``seconds`` is the time since it was started.
    """

    directory: Path
    options: dict[str, object]
    seconds: float


def up(options: Options) -> Path:
    """Start a lab that outlives this process; return its directory.

    Raises:
        LabError: it cannot be started.
    """
    processes = restore.start(options)
    try:
        processes.connect()
        new = processes.directory / f"{FILE}.new"
        new.write_text(json.dumps(fields_of(options)))
        new.replace(processes.directory / FILE)  # a lab is up once it is there, whole
        processes.keep()
    except BaseException:
        processes.stop()
        raise
    return processes.directory


def fields_of(options: Options) -> dict[str, object]:
    """Return *options* as they are written, the same for the same hardware."""
    return {**asdict(options), "cpu": options.full_cpu}


def running() -> Iterator[PersistentLab]:
    """Yield the labs that are up; remove what is left of others, with one line for each."""
    for directory in directories.own():
        file = directory / FILE
        if not file.exists():
            continue
        if directories.remove_unheld(directory):
            note(f"the lab {directory.name} has ended without lab down: its files are removed")
            continue
        with contextlib.suppress(OSError):  # it is going down
            yield PersistentLab(directory, _options_in(file), directories.age(file))


def _options_in(file: Path) -> dict[str, object]:
    try:
        found = json.loads(file.read_text())
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def find(options: Options) -> Path | None:
    """Return the directory of a lab with *options* that is up."""
    wanted = fields_of(options)
    return next((lab.directory for lab in running() if lab.options == wanted), None)


def down(lab: PersistentLab) -> None:
    """End *lab*; return when its directory is gone.

    Raises:
        LabError: it does not end.
    """
    with contextlib.suppress(LabError):  # it is going down by itself
        monitor.quit_qemu(ProcessFiles(lab.directory).monitor)
    deadline = time.monotonic() + DOWN_SECONDS
    while lab.directory.exists():
        if time.monotonic() > deadline:
            raise LabError(f"the lab {lab.directory} does not end: kill its QEMU")
        time.sleep(0.01)
