"""``gdbstub launch --host lab``: QEMU and the session run inside the lab.

The files that the command line names are copied in; what the guest writes to them stays there.
"""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gdbstub.cli.in_lab.run import serve_request, session_arguments
from gdbstub.cli.settings.attach import AttachSettings
from gdbstub.cli.settings.forwards import checked_forward
from gdbstub.lab import private, vmm
from gdbstub.lab.qemu import Options
from gdbstub.lab.remote_run import RunRequest

#: RAM of the lab for a guest beside QEMU and its disk, in MiB.
_MEMORY = 4096


def launch_in_lab(argv: Sequence[str], settings: AttachSettings, verbose: int) -> int:
    """Run *argv*, a command line of QEMU, in the lab; return the exit status.

    Raises:
        LabError: the lab cannot be built or booted.
    """
    serve, record = settings.serve, settings.record
    forward = checked_forward(serve.endpoint)
    archive = vmm.prepare()
    with tempfile.TemporaryDirectory(prefix="gdbstub-", dir=private.place(large=True)) as spool:
        options: list[str | Path] = ["--inner", "--host=kvm", *["-v"] * verbose]
        request = RunRequest(
            argv=options + session_arguments(serve, settings.program, Path(spool)),
            forward=forward,
            record=Path(record) if record else None,
            vmcore=Path(serve.vmcore) if serve.vmcore else None,
            stdin=None if serve.script is None else subprocess.DEVNULL,
            options=Options(memory_mib=_MEMORY),
            command=("gdbstub", "launch"),
            prepare=lambda lab: vmm.install(lab, archive),
            rest=lambda lab: ["--", *vmm.command(lab, argv)],
        )
        return serve_request(request, serve)
