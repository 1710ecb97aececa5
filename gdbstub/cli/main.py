"""The command line: ``gdbstub run``, ``lab`` and ``doctor``.

It reads options and picks rooms; every heavy import waits until its command is called.
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

_GROUPS: Final = ("run", "doctor", "lab")
_DEVICE: Final = "/dev/kvm"


class _Commands(click.Group):
    """Imports a command's module when the command is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_GROUPS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "lab":
            from gdbstub.cli.lab import lab

            return lab
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gdbstub")
def commands() -> None:
    """A GDB remote stub for KVM arm64 guests."""


@commands.command()
@click.argument("guest", required=False, metavar="[GUEST]")
@click.option(
    "--host", "where", type=click.Choice(["auto", "kvm", "lab"]), default="auto",
    help="Where the guest runs: this machine's KVM, or an emulated arm64 host.  "
    "auto takes kvm on an arm64 machine with a usable /dev/kvm, else lab.",
)  # fmt: skip
@click.option(
    "--gdb", "endpoint", default="localhost:1234", show_default=True, metavar="ENDPOINT",
    help="HOST:PORT (port 0 picks a free one), unix:PATH or stdio.",
)  # fmt: skip
@click.option("--smp", type=int, default=1, show_default=True, metavar="N", help="vCPUs.")
@click.option(
    "--cpu", default="host", show_default=True, metavar="FEATURES",
    help="What the vCPUs have: host, then changes such as sve=off, sve=256 (bits of the longest "
    "vector), pauth=off, pmu=off, mte=off, aarch32=on, separated by commas.",
)  # fmt: skip
@click.option("--memory", default="512M", show_default=True, metavar="SIZE", help="Guest RAM.")
@click.option("--initrd", type=Path, metavar="FILE", help="Initial RAM disk of a Linux guest.")
@click.option("--append", metavar="TEXT", help="LinkedKernel command line.")
@click.option("--dtb", type=Path, metavar="FILE", help="Device tree to use instead of our own.")
@click.option(
    "--kaslr-seed", metavar="NUMBER|random",
    help="What a Linux kernel without nokaslr chooses its place by, again after each reset.  "
    "[default: random; with --dtb: what that says]",
)  # fmt: skip
@click.option(
    "--symbols", type=Path, metavar="FILE",
    help="What the printed gdb command loads, and where a kernel with KASLR is found by.  "
    "[default: GUEST, if it is an ELF]",
)  # fmt: skip
@click.option("--free-run", is_flag=True, help="Start running, not halted.")
@click.option(
    "--kill-on-disconnect", is_flag=True,
    help="End the guest when its client leaves, however it does; else the guest goes on.",
)  # fmt: skip
@click.option(
    "--console", default="-", metavar="FILE|-",
    help="Where the guest's serial console goes; with - (standard output), a terminal's keys "
    "go to the guest.",
)  # fmt: skip
@click.option(
    "--script", metavar="CMD",
    help="When listening, run CMD with GDB_REMOTE and GDB_SYMBOLS in its environment; stop the "
    "guest when it ends and exit with its status.",
)  # fmt: skip
@click.option(
    "--timeout", type=float, metavar="SECONDS",
    help="With --script: kill CMD after so long and exit with 124.",
)  # fmt: skip
@click.option(
    "--record", metavar="FILE",
    help="Write the conversation, a line a packet: <- from the client, -> to it.",
)  # fmt: skip
@click.option("-v", "verbose", count=True, help="Log; -vv logs every packet and every exit.")
@click.option("--inner", is_flag=True, hidden=True)
@click.option("--program", hidden=True)
def run(where: str, verbose: int, **options: Any) -> int:  # noqa: ANN401 - click's own
    """Run GUEST and serve GDB.

    GUEST is a static AArch64 ELF or a Linux arm64 Image (raw, gzip, zstd, EFI zboot); without
    it, a small Linux guest is made.  The guest is halted at its first instruction until a
    client lets it go.
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
    """Read the files that were named and check all that can be checked without a guest.

    The demo guest, which may take half a minute, is made when the rest is known to be good.

    Raises:
        InputError: something cannot be used, and why.
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

    _check_script(script, timeout, endpoint)
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


def _check_script(script: str | None, timeout: float | None, endpoint: str) -> None:
    if timeout is not None and script is None:
        raise InputError("--timeout is for --script; give both or neither")
    if timeout is not None and not 0 < timeout < math.inf:
        raise InputError(f"--timeout {timeout:g}: expected a number of seconds above 0")
    if script is not None and endpoint == "stdio":
        raise InputError("--script cannot talk to --gdb stdio; give HOST:PORT or unix:PATH")


def _check_endpoint(text: str, host: str, *, inner: bool) -> "Endpoint":
    """What ``--gdb`` means, and that it can be had now."""
    from gdbstub.protocol.endpoint import Tcp, parse_endpoint

    endpoint = parse_endpoint(text)
    if inner and isinstance(endpoint, Tcp):
        return endpoint._replace(guarded=True)  # only our own QEMU leads there
    endpoint.check()
    if host == "lab":
        from gdbstub.cli.run_in_lab import check_forward

        check_forward(endpoint)
    return endpoint


def choose_host(where: str) -> str:
    """``kvm`` or ``lab``: what *where*, the argument of --host, comes to on this machine.

    Raises:
        InputError: it is kvm in so many words, and there is none.
    """
    machine = platform.machine()
    if where == "auto":
        # Asked of arm64 only: another machine's KVM makes guests of its own kind.
        usable = machine == "aarch64" and os.access(_DEVICE, os.R_OK | os.W_OK)
        if machine == "aarch64" and not usable:
            logging.getLogger("gdbstub.run").warning(
                "this user has no use of %s, so the guest runs in the lab, at the speed of "
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
    """Say what this host can do, what is missing and how to get it."""
    from gdbstub.cli.doctor import examine, show

    return show(examine(), as_json=as_json)


def set_up_logging(verbose: int) -> None:
    """Log to standard error: warnings, with one -v what happens, with two everything."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.basicConfig(level=logging.WARNING, format="gdbstub: %(message)s", stream=sys.stderr)
    logging.getLogger("gdbstub").setLevel(level)


class EndedBySignal(BaseException):
    """A signal asked us to end; ``status`` is the exit status that says so."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.status = 128 + signum


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP end all in good order; a second one does not disturb that."""
    process = os.getpid()

    def stop(signum: int, _frame: FrameType | None) -> NoReturn:
        if os.getpid() != process:
            os._exit(128 + signum)  # a worker, whose traceback would be noise
        for each in STOP_SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise EndedBySignal(signum)

    for each in STOP_SIGNALS:
        # One that is ignored already is meant to be: nohup does that.
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, stop)
    yield


def open_missing_streams() -> None:
    """Put /dev/null where standard input, output or error are closed."""
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            # The lowest free descriptor is taken, and those below are open by now.
            setattr(sys, name, open(os.open(os.devnull, os.O_RDWR), mode))  # noqa: SIM115


def main() -> None:
    """The console script: every deliberate error becomes one line and an exit status."""
    open_missing_streams()
    try:
        with ended_by_signals():
            status = call(sys.argv[1:])
    except EndedBySignal as stopped:
        status = stopped.status
    sys.exit(status)


def call(arguments: list[str]) -> int:
    """Run the command line *arguments*; return the exit status: 2 for bad input."""
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
    except Exception as error:
        if type(error).__name__ != "LabError":  # a class of a room that may not be loaded
            raise
        return _complain(str(error), 1)
    return status if isinstance(status, int) else 0


def _complain(text: str, status: int) -> int:
    # A file's name may hold anything; a line feed or an escape sequence stays visible.
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    print(f"gdbstub: {shown}", file=sys.stderr)
    return status
