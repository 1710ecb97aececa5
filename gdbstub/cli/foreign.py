"""The commands for guests of other VMMs: ``attach``, ``launch``, ``vms`` and ``recover``.

Options are parsed and checked here; ``attach.py`` does the work.
"""

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gdbstub.cli.commands import click_option
from gdbstub.cli.options import foreign_options
from gdbstub.errors import InputError

if TYPE_CHECKING:
    from gdbstub.cli.attach import AttachSettings
    from gdbstub.foreign.process import VmmProcess
    from gdbstub.linux.kaslr import GuestProgram

#: Options of QEMU, cloud-hypervisor, kvmtool and crosvm for the guest's kernel command line.
_APPEND = ("-append", "--append", "--cmdline", "--params", "-p")
#: More columns than any row has.
_WIDE = 1000


def _session_options() -> list[click.Parameter]:
    """Make the options of a session."""
    return list(map(click_option, foreign_options()))


def _settings(
    vmm: "VmmProcess | Sequence[str]",
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
) -> "AttachSettings":
    """Check the options.

    Raises:
        InputError: one cannot be used.
    """
    from gdbstub.cli.attach import AttachSettings, parse_rams
    from gdbstub.cli.endpoints import check_endpoint
    from gdbstub.cli.modules import read_modules
    from gdbstub.cli.qmp import check_qmp
    from gdbstub.cli.reasons import Reasons
    from gdbstub.cli.serve_settings import ServeSettings
    from gdbstub.cli.settings import check_script
    from gdbstub.linux.kaslr import GuestProgram
    from gdbstub.protocol.endpoint import Stdio
    from gdbstub.vmm.files import check_output

    check_script(script, timeout, endpoint)
    where = check_endpoint(endpoint, "kvm", inner=inner)
    reasons = Reasons.parse(stop_on, vmcore_on, timeout, inner=inner)
    qmp_endpoint = None if qmp is None else check_qmp(qmp, where, inner=inner)
    if record is not None:
        check_output(record, "--record")
    slots = parse_rams(rams)
    needed = reasons.need_kernel or modules is not None
    known = GuestProgram.from_text(program) if program else _program(symbols, vmm, needed=needed)
    reasons.check(known)
    if modules is not None:
        known = known._replace(modules=read_modules(modules, known.kernel))
    return AttachSettings(
        vmm=vmm,
        serve=ServeSettings(
            endpoint=where,
            symbols=str(symbols or ""),
            free_run=not halt,
            script=script,
            timeout=timeout,
            hint=not (inner or script or isinstance(where, Stdio)),
            inner=inner,
            qmp=qmp_endpoint,
            **reasons._asdict(),
        ),
        program=known,
        ram=slots,
        record=record,
    )


def _program(
    symbols: Path | None, vmm: "VmmProcess | Sequence[str]", *, needed: bool
) -> "GuestProgram":
    """Read the guest's program from *symbols*; its kernel is *needed*, or not.

    Raises:
        InputError: it cannot be read, or has no kernel.
    """
    from gdbstub.cli.program import read_kernel_symbols
    from gdbstub.foreign.process import VmmProcess
    from gdbstub.linux.kaslr import NO_PROGRAM
    from gdbstub.linux.trial_boot import fixed_place
    from gdbstub.vmm.files import check_input

    if symbols is None:
        return NO_PROGRAM
    check_input(symbols, "--symbols")
    program = read_kernel_symbols(symbols, needed=needed)
    if program.kernel is None:
        return program
    words = vmm.command_line if isinstance(vmm, VmmProcess) else vmm
    return program._replace(expected=fixed_place(program.kernel, kernel_command_line(words)))


def kernel_command_line(words: Sequence[str]) -> str:
    """Return the guest's kernel command line, by a VMM's own; empty if it does not tell."""
    told = [value for option, value in itertools.pairwise(words) if option in _APPEND]
    return told[-1] if told else ""  # the last one is in force


@click.command(params=_session_options())
@click.argument("target", metavar="PID|NAME")
@click.option(
    "--ram", "rams", multiple=True, metavar="IPA=SIZE@HVA",
    help="Place of the guest's RAM: physical address, size and the VMM's address, such as "
    "0x40000000=512M@0x7f2e80000000; may be given again.  [default: found, and validated]",
)  # fmt: skip
@click.option("--halt", is_flag=True, help="Halt the guest at once, not when a client connects.")
def attach(target: str, endpoint: str | None, verbose: int, **options: Any) -> int:  # noqa: ANN401
    """Debug a guest that runs in another VMM on this host.

    PID is the VMM's process, NAME its program's name or the guest's (QEMU's -name).  The guest
    runs on until a client connects, and after the last one has left.
    """
    from gdbstub.cli.attach import attach as attach_to
    from gdbstub.cli.endpoints import endpoint_text
    from gdbstub.cli.logs import set_up_logging
    from gdbstub.foreign import permission
    from gdbstub.foreign.attach import choose

    set_up_logging(verbose)
    process = choose(target)
    with endpoint_text(endpoint, options["script"]) as text:
        settings = _settings(process, endpoint=text, **options)
        permission.check(process)
        return attach_to(settings)


@click.command(params=_session_options(), context_settings={"allow_interspersed_args": False})
@click.argument("argv", metavar="VMM ARGS...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "--host", "where", type=click.Choice(["auto", "kvm", "lab"]), default="auto",
    help="Host of the VMM: this machine, or the lab, with Debian's QEMU in it.  "
    "auto is kvm on an arm64 machine with a usable /dev/kvm, else lab.",
)  # fmt: skip
@click.option("--free-run", is_flag=True, help="Start running, not halted.")
@click.option("--inner", is_flag=True, hidden=True)
def launch(
    argv: tuple[str, ...],
    where: str,
    free_run: bool,
    endpoint: str | None,
    verbose: int,
    **options: Any,  # noqa: ANN401
) -> int:
    """Start a VMM and debug its guest from its first instruction.

    It is halted there, unless --free-run is given.  Options of gdbstub come before VMM.  The exit
    status is the VMM's.
    """
    from gdbstub.cli.attach import attach as attach_to
    from gdbstub.cli.endpoints import endpoint_text
    from gdbstub.cli.logs import set_up_logging
    from gdbstub.cli.settings import choose_host

    set_up_logging(verbose)
    host = choose_host(where)
    with endpoint_text(endpoint, options["script"]) as text:
        settings = _settings(argv, halt=not free_run, endpoint=text, **options)
        if host == "lab":
            from gdbstub.cli.launch_in_lab import launch_in_lab

            return launch_in_lab(argv, settings, verbose)
        return attach_to(settings)


@click.command()
def vms() -> int:
    """List this host's KVM guests, and say which can be attached to."""
    from rich.console import Console
    from rich.table import Table

    from gdbstub.foreign import permission, slots
    from gdbstub.foreign.process import check_vms, processes_with_vms

    table = Table(box=None, pad_edge=False)
    for heading in ("pid", "VMM", "vCPUs", "RAM", "attachable"):
        table.add_column(heading)
    found = False
    for process, descriptors in processes_with_vms():
        found = True
        try:
            permission.check(process)
            check_vms(process, descriptors)
            verdict = "yes"
        except InputError as error:
            verdict = f"no: {error}"
        largest = next(slots.candidates(process), None)
        ram = f"{largest.size >> 20} MiB" if largest else "?"
        row = (str(process.pid), process.name, str(len(descriptors.vcpus)), ram, verdict)
        table.add_row(*row)
    if not found:
        print("gdbstub: this user can see no process with a VM", file=sys.stderr)
        return 1
    # For a program that reads it, a guest is one line, however long.
    width = None if sys.stdout.isatty() else _WIDE
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True, width=width)
    console.print(table)
    return 0


@click.command()
@click.argument("pid", type=int, metavar="PID")
def recover(pid: int) -> int:
    """Undo what a killed debugger has left in the guest of process PID.

    That is breakpoints in its memory, and debug registers.  Attaching does the same.
    """
    from gdbstub.cli.attach import recovered

    return recovered(pid)
