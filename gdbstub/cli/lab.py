"""``gdbstub lab``: a shell or one command in the lab host.

Options are parsed here; ``lab/`` does the work.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, NoReturn

import click

from gdbstub.errors import LabError
from gdbstub.lab.host import Lab
from gdbstub.lab.opening import open_lab
from gdbstub.lab.qemu import Options

BAD_INPUT: Final = 2
CANNOT: Final = 1
HOME: Final = "/root"


@click.group()
def lab() -> None:
    """Use the lab: an arm64 host with KVM under emulation."""


def hardware(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options for the lab's hardware and kernel to *command*."""
    for option in (
        click.option(
            "--kernel",
            "suite",
            metavar="SUITE",
            help="Debian suite of its kernel (default: this machine's).",
        ),
        click.option("--gic", type=click.Choice(["2", "3"]), help="GIC version (default: 3)."),
        click.option("--cpus", type=click.IntRange(1, 8), help="Emulated CPUs (default: 1)."),
        click.option("--cpu", metavar="MODEL", help="QEMU's CPU model (default: max)."),
    ):
        command = option(command)
    return command


@lab.command()
@hardware
def shell(
    cpu: str | None, cpus: int | None, gic: Literal["2", "3"] | None, suite: str | None
) -> None:
    """Open a root shell in the lab's host."""
    sys.exit(with_lab(Lab.shell, cpu, cpus, gic, suite))


@lab.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "--put",
    "files",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Copy FILE into CMD's working directory; may be given again.",
)
@hardware
@click.argument("argv", metavar="CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    files: Sequence[Path],
    cpu: str | None,
    cpus: int | None,
    gic: Literal["2", "3"] | None,
    suite: str | None,
    argv: Sequence[str],
) -> None:
    """Run CMD as root in the lab's host; its exit status is this command's."""
    for path in files:
        if not path.is_file():
            fail(f"--put {path}: no such file", BAD_INPUT)

    def use(host: Lab) -> int:
        for path in files:
            host.put(path, HOME)
        return host.popen(argv, cwd=HOME).wait()

    sys.exit(with_lab(use, cpu, cpus, gic, suite))


def with_lab(
    use: Callable[[Lab], int],
    cpu: str | None,
    cpus: int | None,
    gic: Literal["2", "3"] | None,
    suite: str | None,
) -> int:
    """Call *use* with a lab: a new one if an option is given, else the one of ``Lab.open``."""
    given = Options()
    if cpu:
        given = replace(given, cpu=cpu)
    if cpus:
        given = replace(given, cpus=cpus)
    if gic == "2":
        given = replace(given, gic=2)
    if suite:
        given = replace(given, suite=suite)
    try:
        with open_lab(given) as host:
            return use(host)
    except LabError as error:
        fail(str(error), CANNOT)
    except KeyboardInterrupt:
        return 130


def fail(message: str, status: int) -> NoReturn:
    """Print one line and exit with *status*."""
    print(f"gdbstub: {message}", file=sys.stderr)
    sys.exit(status)
