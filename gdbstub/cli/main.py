"""The command line: ``gdbstub run``, ``attach``, ``lab``, ``doctor`` and others.

It parses options and calls the packages below; they are imported when their command is called.
"""

import logging
import math
import os
import platform
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from gdbstub import __version__
from gdbstub.errors import InputError, StubError
from gdbstub.signals import STOP_SIGNALS

if TYPE_CHECKING:
    from gdbstub.cli.run import Settings
    from gdbstub.protocol.endpoint import Endpoint

_GROUPS: Final = ("run", "attach", "launch", "vms", "recover", "doctor", "lab")
_DEVICE: Final = "/dev/kvm"


class _Commands(click.Group):
    """Group of commands that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_GROUPS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "lab":
            from gdbstub.cli.lab import lab

            return lab
        if cmd_name in ("attach", "launch", "vms", "recover"):
            from gdbstub.cli import foreign

            found: click.Command = getattr(foreign, cmd_name)
            return found
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gdbstub")
def commands() -> None:
    """Run a GDB remote stub for KVM arm64 guests."""


@commands.command()
@click.argument("guest", required=False, metavar="[GUEST]")
@click.option(
    "--host", "where", type=click.Choice(["auto", "kvm", "lab"]), default="auto",
    help="Host of the guest: this machine's KVM, or an emulated arm64 host.  "
    "auto is kvm on an arm64 machine with a usable /dev/kvm, else lab.",
)  # fmt: skip
@click.option(
    "--gdb", "endpoint", default="localhost:1234", show_default=True, metavar="ENDPOINT",
    help="HOST:PORT (port 0 picks a free one), unix:PATH or stdio.",
)  # fmt: skip
@click.option(
    "--smp", type=int, default=1, show_default=True, metavar="N", help="Number of vCPUs."
)  # fmt: skip
@click.option(
    "--cpu", default="host", show_default=True, metavar="FEATURES",
    help="Features of the vCPUs: host, then changes such as sve=off, sve=256 (bits of the longest "
    "vector), pauth=off, pmu=off, mte=off, aarch32=on, separated by commas.",
)  # fmt: skip
@click.option("--memory", default="512M", show_default=True, metavar="SIZE", help="Guest RAM.")
@click.option("--initrd", type=Path, metavar="FILE", help="Initial RAM disk of a Linux guest.")
@click.option("--append", metavar="TEXT", help="Kernel command line.")
@click.option("--dtb", type=Path, metavar="FILE", help="Device tree instead of the built-in one.")
@click.option(
    "--kaslr-seed", metavar="NUMBER|random",
    help="Seed by which a Linux kernel without nokaslr chooses its address, the same after each "
    "reset.  [default: random; with --dtb: that file's]",
)  # fmt: skip
@click.option(
    "--symbols", type=Path, metavar="FILE",
    help="Symbols for the printed gdb command, and for locating a kernel with KASLR.  "
    "[default: GUEST, if it is an ELF]",
)  # fmt: skip
@click.option("--free-run", is_flag=True, help="Start running, not halted.")
@click.option(
    "--kill-on-disconnect", is_flag=True,
    help="End the guest when its client disconnects in any way; else the guest goes on.",
)  # fmt: skip
@click.option(
    "--console", default="-", metavar="FILE|-",
    help="Output of the guest's serial console; with - (standard output), keys typed on a "
    "terminal go to the guest.",
)  # fmt: skip
@click.option(
    "--script", metavar="CMD",
    help="Command to run once the stub listens, with GDB_REMOTE and GDB_SYMBOLS in its "
    "environment; when it ends, stop the guest and exit with its status.",
)  # fmt: skip
@click.option(
    "--timeout", type=float, metavar="SECONDS",
    help="With --script: time after which CMD is killed; the exit status is then 124.",
)  # fmt: skip
@click.option(
    "--record", metavar="FILE",
    help="Write every packet to FILE, one a line: <- from the client, -> to it.",
)  # fmt: skip
@click.option("-v", "verbose", count=True, help="Log; -vv logs every packet and every exit.")
@click.option("--inner", is_flag=True, hidden=True)
@click.option("--program", hidden=True)
def run(where: str, verbose: int, **options: Any) -> int:  # noqa: ANN401 - click's own
    """Run GUEST and serve GDB.

    GUEST is a static AArch64 ELF or a Linux arm64 Image (raw, gzip, zstd, EFI zboot); the
    default is a small Linux guest.  It is halted at its first instruction until a client
    resumes it.
    """
    set_up_logging(verbose)
    host = choose_host(where)
    settings = read_settings(host, **options)
    if host == "kvm":
        from gdbstub.cli.run import run as run_here

        return run_here(settings)
    from gdbstub.cli.run_in_lab import serve_in_lab

    return serve_in_lab(settings, verbose)


def read_settings(
    host: str,
    *,
    guest: str | None,
    endpoint: str,
    smp: int,
    cpu: str,
    memory: str,
    initrd: Path | None,
    append: str | None,
    dtb: Path | None,
    kaslr_seed: str | None,
    symbols: Path | None,
    free_run: bool,
    kill_on_disconnect: bool,
    console: str,
    script: str | None,
    timeout: float | None,
    record: str | None,
    inner: bool,
    program: str | None,
) -> "Settings":
    """Read the input files and check every option that can be checked without a guest.

    The demo guest, whose build may take half a minute, is prepared after the other checks.

    Raises:
        InputError: an option or a file cannot be used, with the reason.
    """
    from gdbstub.cli.run import Files, Settings, Source, read_program
    from gdbstub.cli.serve import ServeSettings
    from gdbstub.kvm.features import parse_cpu
    from gdbstub.linux.kaslr import GuestProgram
    from gdbstub.protocol.endpoint import Stdio
    from gdbstub.vmm import device_tree, image
    from gdbstub.vmm.config import GuestConfig, check, check_vcpus
    from gdbstub.vmm.files import check_input, check_output
    from gdbstub.vmm.seed import RANDOM, parse_seed
    from gdbstub.vmm.size import parse_memory

    check_script(script, timeout, endpoint)
    where = _check_endpoint(endpoint, host, inner=inner)
    check_vcpus(smp)
    features = parse_cpu(cpu)
    size = parse_memory(memory)
    seed = None if kaslr_seed is None else parse_seed(kaslr_seed)
    if symbols is not None:
        check_input(symbols, "--symbols")
    for name, option in ((record, "--record"), (console, "--console")):
        if name is not None and (name, option) != ("-", "--console"):
            check_output(name, option)
    tree, tree_bytes = Source.read(dtb, "--dtb") if dtb else (None, None)
    if tree_bytes is not None:
        device_tree.amend(tree_bytes, "--dtb", device_tree.Chosen())
    disk, disk_bytes = Source.read(initrd, "--initrd") if initrd else (None, None)
    if guest is None:
        from gdbstub.lab import demo

        files = demo.prepare()
        guest = str(files.image)
        append = demo.COMMAND_LINE if append is None else append
        symbols = symbols or files.symbols
        if disk is None:
            disk, disk_bytes = Source.read(files.initrd)
    source, data = Source.read(Path(guest))
    loaded = image.parse(data, guest, size)
    if symbols is None and not isinstance(loaded, image.LinuxImage):
        symbols = source.path
    if seed is None and dtb is None and isinstance(loaded, image.LinuxImage):
        seed = parse_seed(RANDOM)
    config = GuestConfig(
        image=loaded,
        memory=size,
        vcpus=smp,
        append=append,
        initrd=disk_bytes,
        dtb=tree_bytes,
        cpu=features,
        kaslr_seed=seed,
    )
    check(config)
    return Settings(
        guest=config,
        files=Files(source, disk, tree),
        serve=ServeSettings(
            endpoint=where,
            symbols=str(symbols or ""),
            free_run=free_run,
            kill_on_disconnect=kill_on_disconnect,
            script=script,
            timeout=timeout,
            hint=not (inner or script or isinstance(where, Stdio)),
        ),
        program=GuestProgram.from_text(program) if program else read_program(symbols, loaded),
        console=console,
        record=record,
        inner=inner,
    )


def check_script(script: str | None, timeout: float | None, endpoint: str) -> None:
    """Check ``--script`` and its companions.

    Raises:
        InputError: they do not go together.
    """
    if timeout is not None and script is None:
        raise InputError("--timeout is for --script; give both or neither")
    if timeout is not None and not 0 < timeout < math.inf:
        raise InputError(f"--timeout {timeout:g}: expected a number of seconds above 0")
    if script is not None and endpoint == "stdio":
        raise InputError("--script cannot talk to --gdb stdio; give HOST:PORT or unix:PATH")


def _check_endpoint(text: str, host: str, *, inner: bool) -> "Endpoint":
    """Parse the argument of ``--gdb``; check that the stub can listen there.

    Raises:
        InputError: it cannot be parsed or used.
    """
    from gdbstub.protocol.endpoint import Tcp, parse_endpoint

    endpoint = parse_endpoint(text)
    if inner and isinstance(endpoint, Tcp):
        return endpoint._replace(guarded=True)  # reachable only through the lab's own QEMU
    endpoint.check()
    if host == "lab":
        from gdbstub.cli.run_in_lab import check_forward

        check_forward(endpoint)
    return endpoint


def choose_host(where: str) -> str:
    """Choose ``kvm`` or ``lab`` for *where*, the argument of ``--host``, on this machine.

    Raises:
        InputError: it is ``kvm``, and this machine has no usable KVM for arm64 guests.
    """
    machine = platform.machine()
    if where == "auto":
        # On arm64 only: another machine's KVM runs guests of that machine's architecture.
        usable = machine == "aarch64" and os.access(_DEVICE, os.R_OK | os.W_OK)
        if machine == "aarch64" and not usable:
            logging.getLogger("gdbstub.run").warning(
                "this user has no access to %s, so the guest runs in the lab, at the speed of "
                "emulation; --host kvm says why",
                _DEVICE,
            )
        return "kvm" if usable else "lab"
    if where == "kvm":
        if machine != "aarch64":
            named = machine.replace("_", "-")
            raise InputError(
                f"--host kvm: this machine is {named}; arm64 guests need --host lab here"
            )
        from gdbstub.kvm import device

        os.close(device.open_kvm(_DEVICE))
    return where


@commands.command()
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def doctor(as_json: bool) -> int:
    """Show what this host can do, what is missing, and how to install that."""
    from gdbstub.cli.doctor import examine, show

    return show(examine(), as_json=as_json)


def set_up_logging(verbose: int) -> None:
    """Log to standard error: warnings; events too with one -v; packets and exits with two."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.basicConfig(level=logging.WARNING, format="gdbstub: %(message)s", stream=sys.stderr)
    logging.getLogger("gdbstub").setLevel(level)


class EndedBySignal(BaseException):
    """Request by a signal to end the program; ``status`` is the exit status for it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.status = 128 + signum


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Convert Ctrl-C, SIGTERM and SIGHUP in the block to ``EndedBySignal``; ignore later ones."""
    process = os.getpid()

    def stop(signum: int, _frame: FrameType | None) -> NoReturn:
        if os.getpid() != process:
            os._exit(128 + signum)  # a forked child, which must not unwind the parent's blocks
        for each in STOP_SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise EndedBySignal(signum)

    for each in STOP_SIGNALS:
        # A signal that is ignored already stays so: nohup sets that.
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, stop)
    yield


def open_missing_streams() -> None:
    """Open /dev/null in place of a closed standard input, output or error."""
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            # The lowest free descriptor is taken, and those below are open by now.
            setattr(sys, name, open(os.open(os.devnull, os.O_RDWR), mode))  # noqa: SIM115


def main() -> None:
    """Run the console script: each deliberate error is one line and an exit status."""
    open_missing_streams()
    try:
        with ended_by_signals():
            status = call(sys.argv[1:])
    except EndedBySignal as stopped:
        status = stopped.status
    sys.exit(status)


def call(arguments: list[str]) -> int:
    """Run the command line *arguments*; return the exit status.

    It is 2 for bad input, 1 for another failure and 130 after Ctrl-C.
    """
    try:
        status = commands.main(arguments, prog_name="gdbstub", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
        return 2
    except click.ClickException as error:
        return _complain(" ".join(error.format_message().split()), 2)
    except InputError as error:
        return _complain(str(error), 2)
    except StubError as error:
        return _complain(str(error), 1)
    except click.Abort:
        return 130
    except KeyboardInterrupt:
        return 130
    return status if isinstance(status, int) else 0


def _complain(text: str, status: int) -> int:
    # The name of a file may hold a line feed or an escape sequence: show these escaped.
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    print(f"gdbstub: {shown}", file=sys.stderr)
    return status
