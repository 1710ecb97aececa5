"""Options of ``gdbstub run`` as rows, and a parser for a command line that the program wrote.

``commands.group`` makes click's options of the rows, for people. In the lab another ``gdbstub`` has
written the command line, and click would be a tenth of the start.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from gdbstub.errors import InputError
from gdbstub.numbers import parse_float, parse_integer

#: Option of a command line that another ``gdbstub`` has written: the stub is in a lab.
INNER: Final = "--inner"


class Option(NamedTuple):
    """One option: *flag* as it is typed, and the *name* of the setting.

    *convert* makes a value of the text; bool and len are of options without a text: given or not,
    and how often.
    """

    flag: str
    name: str
    help: str = ""
    metavar: str | None = None
    convert: Callable[[str], object] = str
    choices: tuple[str, ...] = ()
    default: object = None
    show_default: bool = False
    #: Number of texts that follow the flag.
    texts: int = 1


RUN: Final = (
    Option(
        "--host", "where", choices=("auto", "kvm", "lab"), default="auto",
        help="Host of the guest: this machine's KVM, or an emulated arm64 host.  "
        "auto is kvm on an arm64 machine with a usable /dev/kvm, else lab.",
    ),
    Option(
        "--gdb", "endpoint", metavar="ENDPOINT",
        help="HOST:PORT (port 0 picks a free one), unix:PATH or stdio.  [default: localhost:1234; "
        "with --script: a socket that only this user reaches]",
    ),
    Option(
        "--smp", "smp", convert=parse_integer, default=1, show_default=True, metavar="N",
        help="Number of vCPUs.",
    ),
    Option(
        "--cpu", "cpu", default="host", show_default=True, metavar="FEATURES",
        help="Features of the vCPUs: host, then changes such as sve=off, sve=256 (bits of the "
        "longest vector), pauth=off, pmu=off, mte=off, aarch32=on, separated by commas.",
    ),
    Option(
        "--memory", "memory", default="512M", show_default=True, metavar="SIZE", help="Guest RAM."
    ),
    Option(
        "--load", "load", metavar="ADDR",
        help="Physical address of a position-independent ELF or a raw binary.  [default: "
        "0x40080000]",
    ),
    Option(
        "--initrd", "initrd", convert=Path, metavar="FILE",
        help="Initial RAM disk of a Linux guest.",
    ),
    Option("--append", "append", metavar="TEXT", help="Kernel command line."),
    Option(
        "--dtb", "dtb", convert=Path, metavar="FILE",
        help="Device tree instead of the built-in one.",
    ),
    Option(
        "--kaslr-seed", "kaslr_seed", metavar="NUMBER|random",
        help="Seed by which a Linux kernel without nokaslr chooses its address, the same after "
        "each reset.  [default: random; with --dtb: that file's]",
    ),
    Option(
        "--symbols", "symbols", convert=Path, metavar="FILE|debug",
        help="Symbols for the printed gdb command, and for locating a kernel with KASLR; debug: "
        "the vmlinux of Debian's -dbg package, or of DEBUGINFOD_URLS, downloaded once.  "
        "[default: GUEST, if it is an ELF]",
    ),
    Option(
        "--modules", "modules", convert=Path, metavar="DIR",
        help="Files of a Linux guest's modules, as /lib/modules/VERSION has them: GDB gets their "
        "symbols as the guest loads them.  Needs --symbols.",
    ),
    Option(
        "--stop-on", "stop_on", metavar="REASONS",
        help="Halt a Linux guest, with or without a client, when it does one of these: panic, "
        "oops, warn, reset, separated by commas.  Needs --symbols.",
    ),
    Option(
        "--vmcore-on", "vmcore_on", metavar="REASONS FILE", texts=2,
        help="Write RAM and registers to FILE, a new one, when a reason of --stop-on or the end "
        "of --timeout comes, for drgn and GDB: panic,timeout for example.  The guest is "
        "halted; without a client and a script the session ends.",
    ),
    Option(
        "--qmp", "qmp", metavar="unix:PATH",
        help="Socket at which drgn --qemu PATH, or gdbstub drgn, reads the guest while it runs.",
    ),
    Option(
        "--no-reboot", "no_reboot", convert=bool,
        help="End the guest when it resets itself; else it starts over.",
    ),
    Option("--free-run", "free_run", convert=bool, help="Start running, not halted."),
    Option(
        "--kill-on-disconnect", "kill_on_disconnect", convert=bool,
        help="End the guest when its client disconnects in any way; else the guest goes on.",
    ),
    Option(
        "--console", "console", default="-", metavar="FILE|-",
        help="Output of the guest's serial console; with - (standard output), keys typed on a "
        "terminal go to the guest.",
    ),
    Option(
        "--script", "script", metavar="CMD",
        help="Command to run once the stub listens, with GDB_REMOTE and GDB_SYMBOLS in its "
        "environment; when it ends, stop the guest and exit with its status.",
    ),
    Option(
        "--timeout", "timeout", convert=parse_float, metavar="SECONDS",
        help="Time after which the session ends, and CMD with it; the exit status is then 124.",
    ),
    Option(
        "--record", "record", metavar="FILE",
        help="Write every packet to FILE, one a line: <- from the client, -> to it.",
    ),
    Option("-v", "verbose", convert=len, help="Log; -vv logs every packet and every exit."),
    # Without a help: not for people.
    Option(INNER, "inner", convert=bool),
    Option("--program", "program"),
)  # fmt: skip
"""Options of ``gdbstub run``."""

#: Settings of a session, which ``gdbstub attach`` and ``launch`` have, too.
_SESSION: Final = (
    "endpoint", "symbols", "modules", "stop_on", "vmcore_on", "qmp", "script", "timeout", "record",
    "verbose", "program",
)  # fmt: skip
#: Differences for a guest of another VMM, by the name of the setting.
_FOREIGN: Final[dict[str, dict[str, Any]]] = {
    "symbols": {
        "metavar": "FILE",
        "help": "Symbols for the printed gdb command, and for locating a Linux kernel: its "
        "vmlinux.",
    },
    "vmcore_on": {
        "help": "Write RAM and registers to FILE, a new one, when a reason of --stop-on or the "
        "end of --timeout comes, for drgn and GDB: panic,timeout for example.  The guest "
        "is halted; without a client and a script the session ends, and the guest goes on.",
    },
    "script": {
        "help": "Command to run once the stub listens, with GDB_REMOTE and GDB_SYMBOLS in its "
        "environment; when it ends, detach and exit with its status.",
    },
}


def foreign_options() -> list[Option]:
    """Return the options of a session with the guest of another VMM."""
    rows = {option.name: option for option in RUN}
    return [rows[name]._replace(**_FOREIGN.get(name, {})) for name in _SESSION]


_BY_FLAG: Final = {option.flag: option for option in RUN}


def parse_written(words: Sequence[str]) -> dict[str, Any]:
    """Parse the arguments of ``gdbstub run`` that another ``gdbstub`` has written.

    Raises:
        InputError: they are not of that form.
    """
    values: dict[str, Any] = {"guest": None}
    for option in RUN:
        if option.convert is len:
            values[option.name] = words.count(option.flag)
        else:
            values[option.name] = False if option.convert is bool else option.default
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            values["guest"] = word
            continue
        flag, separated, text = word.partition("=")
        if (found := _BY_FLAG.get(flag)) is None:
            raise InputError(f"{INNER}: {word}: no such option; expected those of gdbstub run")
        if found.convert is bool:
            values[found.name] = True
        elif found.texts > 1:
            values[found.name] = tuple(next(rest, "") for _ in range(found.texts))
        elif found.convert is not len:
            values[found.name] = found.convert(text if separated else next(rest, ""))
    return values
