"""The settings of ``gdbstub attach`` and ``launch``: their options, checked, and files, read.

It parses no command line, and looks into no VMM. Modules that few options need are imported where
they are used: each costs a wrong command line a millisecond.
"""

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from gdbstub.cli.settings.endpoints import check_endpoint
from gdbstub.cli.settings.program import read_kernel_symbols
from gdbstub.cli.settings.qmp import check_qmp
from gdbstub.cli.settings.reasons import Reasons
from gdbstub.cli.settings.run import check_script
from gdbstub.cli.settings.serve import ServeSettings
from gdbstub.errors import InputError
from gdbstub.foreign.memory import MemorySlot
from gdbstub.foreign.process import VmmProcess
from gdbstub.linux.kaslr import NO_PROGRAM, GuestProgram
from gdbstub.vmm.files import check_apart, check_input, check_output

#: Options of QEMU, cloud-hypervisor, kvmtool and crosvm for the guest's kernel command line.
_APPEND = ("-append", "--append", "--cmdline", "--params", "-p")


class AttachSettings(NamedTuple):
    """The options of ``gdbstub attach``, checked."""

    #: The VMM, or the command line of one that is to be started.
    vmm: VmmProcess | Sequence[str]
    serve: ServeSettings
    program: GuestProgram
    ram: tuple[MemorySlot, ...] = ()
    record: str | None = None


def read_attach_settings(
    vmm: VmmProcess | Sequence[str],
    *,
    halt: bool,
    rams: Sequence[str] = (),
    endpoint: str,
    symbols: Path | None,
    modules: Path | None,
    stop_on: str | None,
    vmcore_on: tuple[str, str] | None,
    script: str | None,
    timeout: float | None,
    record: str | None,
    qmp: str | None,
    program: str | None,
    inner: bool = False,
) -> AttachSettings:
    """Check the options of a session with a guest of *vmm*, a process or a command line.

    Raises:
        InputError: one cannot be used.
    """

    check_script(script, timeout, endpoint)
    where = check_endpoint(endpoint, "kvm", inner=inner)
    reasons = Reasons.parse(stop_on, vmcore_on, timeout, inner=inner)
    qmp_endpoint = None if qmp is None else check_qmp(qmp, where, inner=inner)
    outputs = {"--vmcore-on": reasons.vmcore, "--record": record}
    if record is not None:
        check_output(record, "--record")
        check_apart([("--symbols", symbols), *_files_of(vmm)], outputs)
    slots = _parse_rams(rams)
    needed = reasons.need_kernel or modules is not None
    known = GuestProgram.from_text(program) if program else _program(symbols, vmm, needed=needed)
    reasons.check(known)
    if modules is not None:
        from gdbstub.cli.settings.modules import read_modules

        known = known._replace(modules=read_modules(modules, known.kernel, outputs, inner=inner))
    return AttachSettings(
        vmm=vmm,
        serve=ServeSettings(
            endpoint=where,
            symbols=str(symbols or ""),
            free_run=not halt,
            script=script,
            timeout=timeout,
            inner=inner,
            qmp=qmp_endpoint,
            **reasons._asdict(),
        ),
        program=known,
        ram=slots,
        record=record,
    )


def _files_of(vmm: VmmProcess | Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield what may be a file of *vmm*, with its name: those that it has open, or is to open.

    In a command line a part may be of an option such as ``-drive file=PATH,format=raw``, in which
    QEMU doubles a comma of PATH. What is not there cannot be lost.
    """
    if isinstance(vmm, VmmProcess):
        with suppress(OSError):  # what attaches says why
            for descriptor in (vmm.path / "fd").iterdir():
                yield f"process {vmm.pid}", str(descriptor)
        return
    for word in vmm:
        parts = re.split('[=:"]|(?<!,),(?!,)', word)
        for part in (word, *re.split('[=:,"]', word), *(part.replace(",,", ",") for part in parts)):
            if os.path.isfile(part):
                yield "VMM", part


def _program(
    symbols: Path | None, vmm: VmmProcess | Sequence[str], *, needed: bool
) -> GuestProgram:
    """Read the guest's program from *symbols*; its kernel is *needed*, or not.

    Raises:
        InputError: it cannot be read, or has no kernel.
    """
    if symbols is None:
        return NO_PROGRAM
    if str(symbols) == "debug" and not symbols.exists():
        raise InputError(
            "--symbols debug is for gdbstub run; give the vmlinux of the guest's kernel"
        )
    check_input(symbols, "--symbols")
    program = read_kernel_symbols(symbols, needed=needed)
    if program.kernel is None:
        return program
    from gdbstub.linux.trial_boot import fixed_place

    words = vmm.command_line if isinstance(vmm, VmmProcess) else vmm
    return program._replace(expected=fixed_place(program.kernel, kernel_command_line(words)))


def kernel_command_line(words: Sequence[str]) -> str:
    """Return the guest's kernel command line, by a VMM's own; empty if it does not tell."""
    told = [value for option, value in itertools.pairwise(words) if option in _APPEND]
    return told[-1] if told else ""  # the last one is in force


def _parse_rams(texts: Sequence[str]) -> tuple[MemorySlot, ...]:
    """Parse the arguments of ``--ram``.

    Raises:
        InputError: one of them is malformed, or two overlap.
    """
    if not texts:
        return ()
    from gdbstub.foreign.slots import parse_ram

    slots = sorted(map(parse_ram, texts))
    for slot, following in itertools.pairwise(slots):
        if slot.end > following.ipa:
            raise InputError(f"--ram {slot} and {following} overlap")
    return tuple(slots)
