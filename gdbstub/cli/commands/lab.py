"""``gdbstub lab``: a shell or one command in the lab host, and labs that stay up for many runs.

Options are parsed here; ``lab/`` does the work.
"""

import functools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final, Literal

import click

from gdbstub.cli.commands.parameters import File, IntegerRange
from gdbstub.errors import InputError, LabError
from gdbstub.lab import persistent, tools
from gdbstub.lab.opening import open_lab
from gdbstub.lab.qemu import PROGRAM, Options
from gdbstub.streams import note
from gdbstub.vmm.files import check_input

HOME: Final = "/root"


@click.group()
def lab() -> None:
    """Use the lab: an arm64 host with KVM under emulation."""


def check_cpu(_context: object, _option: object, model: str | None) -> str | None:
    """Return *model*, the CPU of the lab.

    Raises:
        InputError: this machine's QEMU has no such CPU.
    """
    if model is not None and shutil.which(PROGRAM):  # else a lab cannot be started anyway
        listed = tools.run([PROGRAM, "-cpu", "help"]).splitlines()
        name = model.partition(",")[0]
        if name not in {line.split()[0] for line in listed if line.startswith(" ")}:
            raise InputError(
                f"--cpu {model}: {PROGRAM} has no CPU {name}; expected one of {PROGRAM} -cpu help"
            )
    return model


def hardware(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options for the lab's hardware and kernel; *command* gets them as ``options``."""

    @functools.wraps(command)
    def call(
        *arguments: object,
        cpu: str | None,
        cpus: int | None,
        gic: Literal["2", "3"] | None,
        suite: str | None,
        vhe: bool,
        **others: object,
    ) -> int:
        usual = Options()
        options = Options(
            cpu=cpu or usual.cpu,
            cpus=cpus or usual.cpus,
            gic=2 if gic == "2" else usual.gic,
            suite=suite or usual.suite,
            vhe=vhe,
        )
        return command(*arguments, options=options, **others)

    for option in (
        click.option(
            "--kernel",
            "suite",
            metavar="SUITE",
            help="Debian suite of its kernel (default: this machine's).",
        ),
        click.option("--gic", type=click.Choice(["2", "3"]), help="GIC version (default: 3)."),
        click.option(
            "--cpus",
            type=IntegerRange(1, 8),
            metavar="N",
            help="Emulated CPUs, 1 to 8 (default: 1).",
        ),
        click.option(
            "--cpu",
            metavar="MODEL",
            callback=check_cpu,
            help="QEMU's CPU model (default: max).",
        ),
        click.option(
            "--vhe", is_flag=True, help="Run its kernel at EL2; such a lab boots anew each time."
        ),
    ):
        call = option(call)
    return call


@lab.command()
@hardware
def shell(options: Options) -> int:
    """Open a root shell in the lab's host."""
    with open_lab(options) as host:
        return host.shell()


@lab.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "--put",
    "files",
    metavar="FILE",
    multiple=True,
    type=File(),
    help="Copy FILE into CMD's working directory; may be given again.",
)
@hardware
@click.argument("argv", metavar="CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
def run(files: Sequence[Path], options: Options, argv: Sequence[str]) -> int:
    """Run CMD as root in the lab's host, and exit with its status."""
    for path in files:
        check_input(path, "--put")
    with open_lab(options) as host:
        for path in files:
            host.put(path, HOME)
        return host.popen(argv, cwd=HOME).wait()


@lab.command()
@hardware
def up(options: Options) -> int:
    """Start a lab that stays up, for every gdbstub that wants such a lab."""
    if found := persistent.find(options):
        raise LabError(f"such a lab is up already: {found.name}")
    print(persistent.up(options).name)
    return 0


@lab.command(name="list")
def list_labs() -> int:
    """List the labs that are up."""
    found = list(persistent.running())
    for each in found:
        print(f"{each.directory.name}  {each.seconds:.0f} s  {described(each)}")
    if not found:
        note("no lab is up")
    return 0


@lab.command()
@click.argument("name", required=False)
def down(name: str | None) -> int:
    """End the lab NAME, by default every lab that is up."""
    ended = [each for each in persistent.running() if name in (None, each.directory.name)]
    if not ended:
        raise LabError(f"no lab {name} is up" if name else "no lab is up")
    for each in ended:
        persistent.down(each)
    return 0


def described(lab: persistent.PersistentLab) -> str:
    """Describe a lab by its options, without the defaults."""
    if not lab.options:
        return f"its hardware is unknown: {persistent.FILE} is damaged"
    different = [
        f"{name}={lab.options[name]}"
        for name, usual in asdict(Options()).items()
        if lab.options.get(name, usual) != usual
    ]
    return " ".join(different) or "the usual hardware"
