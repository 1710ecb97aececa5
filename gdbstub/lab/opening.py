"""Choice of the lab to use: one that is named, one that is up, or a new one.

In any of them the project's source is as it is here.
"""

import fcntl
import os
import shlex
import subprocess
from pathlib import Path

from gdbstub.errors import LabError
from gdbstub.lab import overlay, persistent, restore
from gdbstub.lab.host import OWN, VARIABLE, Lab
from gdbstub.lab.processes import ProcessFiles
from gdbstub.lab.qemu import Options
from gdbstub.streams import note


def open_lab(options: Options | None = None) -> Lab:
    """Use the lab that ``GDBSTUB_LAB`` names, one with *options* that is up, or start one.

    Raises:
        LabError: the named lab is not running, or none can be started.
    """
    wanted = options or Options()
    directory = os.environ.get(VARIABLE)
    if directory == OWN:
        return start_lab(wanted)
    if directory:
        lab = Lab.attach(Path(directory))
    elif found := persistent.find(wanted):
        note(f"using the lab that is up ({found.name}); gdbstub lab down ends it")
        lab = Lab.attach(found)
    else:
        return start_lab(wanted)
    renew_source(lab)
    return lab


def start_lab(options: Options) -> Lab:
    """Start a lab, from a snapshot where *options* allow.

    Raises:
        LabError: it cannot be started.
    """
    lab = Lab.of(restore.start(options))
    try:
        renew_source(lab)
    except BaseException:
        lab.close()
        raise
    return lab


def renew_source(lab: Lab) -> None:
    """Copy the project's source into *lab*, unless it has this one.

    Raises:
        LabError: it cannot be copied.
    """
    files = ProcessFiles(lab.directory)
    wanted = overlay.digest()
    with (lab.directory / "source.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if files.source.exists() and files.source.read_text(errors="replace") == wanted:
            return
        archive = shlex.quote(lab.put(overlay.source().archive))
        try:
            lab.run(["sh", "-c", f"cd / && cpio -idmu <{archive} && rm {archive}"])
        except subprocess.CalledProcessError as error:
            raise LabError(f"cannot copy the project into the lab: {error.stderr!r}") from error
        files.source.write_text(wanted)
