"""``gdbstub launch --host lab``: QEMU and the session run inside the lab.

The files that the command line names are copied in; what the guest writes to them stays there.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from gdbstub.cli.forwards import checked_forward
from gdbstub.cli.run_in_lab import serve_request
from gdbstub.cli.serve_settings import ServeSettings
from gdbstub.errors import InputError
from gdbstub.lab import vmm
from gdbstub.lab.qemu import ADDRESS, Options
from gdbstub.lab.remote_run import RunRequest

#: RAM of the lab for a guest beside QEMU and its disk, in MiB.
_MEMORY = 4096


def launch_in_lab(
    argv: Sequence[str], serve: ServeSettings, record: str | None, verbose: int
) -> int:
    """Run *argv*, a command line of QEMU, in the lab; return the exit status.

    Raises:
        InputError: it is another VMM.
        LabError: the lab cannot be built or booted.
    """
    if argv[0] != vmm.PROGRAM:
        raise InputError(f"--host lab has one VMM: {vmm.PROGRAM}, Debian's; not {argv[0]!r}")
    forward = checked_forward(serve.endpoint)
    archive = vmm.prepare()
    options: list[str | Path] = ["--inner", "--host=kvm", *["-v"] * verbose]
    if serve.qmp is not None:
        options.append(f"--qmp={ADDRESS}:0")
    if serve.free_run:
        options.append("--free-run")
    request = RunRequest(
        argv=options,
        forward=forward,
        record=Path(record) if record else None,
        stdin=None if serve.script is None else subprocess.DEVNULL,
        options=Options(memory_mib=_MEMORY),
        command=("gdbstub", "launch"),
        prepare=lambda lab: vmm.install(lab, archive),
        rest=lambda lab: ["--", *vmm.command(lab, argv)],
    )
    return serve_request(request, serve)
