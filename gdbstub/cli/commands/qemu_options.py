"""QEMU's options, as people type them from habit, in terms of ``gdbstub run``.

It runs nothing: the answer is the text of an error.
"""

import re
import shlex
from collections.abc import Callable, Sequence
from math import prod
from typing import Final, NamedTuple

from gdbstub.cli.options import RUN

_QEMU: Final = "qemu-system-aarch64"
_OURS: Final = frozenset(option.flag for option in RUN)
#: Properties of QEMU's machine that the guest has here in any case.
_MACHINE: Final = frozenset(
    ("virt", "accel=kvm", "gic-version=3", "gic-version=max", "gic-version=host")
)


class _Option(NamedTuple):
    """One option of QEMU: whether an argument follows, and our words for it.

    ``ours`` returns None for what is not carried over; without it there is no such device here.
    """

    argument: bool
    ours: Callable[[str], Sequence[str] | None] | None


def _memory(text: str) -> Sequence[str] | None:
    size = text.split(",")[0].removeprefix("size=")
    if "=" in size:
        return None
    return [f"--memory={size}{'M' if size.isascii() and size.isdigit() else ''}"]


def _smp(text: str) -> Sequence[str] | None:
    """Return the number of vCPUs, as QEMU computes it from the topology."""
    first, *others = text.split(",")
    items = [first if "=" in first else f"cpus={first}", *others]
    named = {name: number for name, _, number in (item.partition("=") for item in items)}
    if not all(re.fullmatch("[0-9]{1,9}", number) for number in named.values()):
        return None
    levels = (int(number) for name, number in named.items() if name not in ("cpus", "maxcpus"))
    return [f"--smp={named.get('cpus') or named.get('maxcpus') or prod(levels)}"]


def _gdb(text: str) -> Sequence[str] | None:
    kind, _, rest = text.split(",")[0].partition(":")
    host, _, port = rest.rpartition(":")
    if kind == "stdio":
        return ["--gdb=stdio"]
    if kind == "tcp" and port:
        return [f"--gdb={host or 'localhost'}:{port}"]
    return [f"--gdb=unix:{rest}"] if kind == "unix" and rest else None


def _serial(text: str) -> Sequence[str] | None:
    if text.startswith("file:"):
        return [f"--console={text.removeprefix('file:').split(',')[0]}"]
    return [] if text in ("stdio", "mon:stdio") else None


def _machine(text: str) -> Sequence[str] | None:
    return [] if _MACHINE.issuperset(text.split(",")) else None


def _same(flag: str) -> Callable[[str], Sequence[str]]:
    return lambda text: [f"{flag}={text}"]


def _default(*texts: str) -> _Option:
    """Return an option that means what is so here in any case if its argument is in *texts*."""
    return _Option(True, lambda text: [] if text in texts else None)


#: Options for what is so in any case: the console, KVM, a stub at port 1234, a halted guest.
_DEFAULT: Final = _Option(False, lambda _: [])
_NOTHING: Final = _default("none")
_DEVICE: Final = _Option(True, None)
#: Options without a counterpart here: without an argument, and with one.
_DROPPED: Final = _Option(False, lambda _: None)
_DROPPED_WITH: Final = _default()

_OPTIONS: Final = {
    "kernel": _Option(True, lambda text: [text]),
    "append": _Option(True, _same("--append")),
    "initrd": _Option(True, _same("--initrd")),
    "dtb": _Option(True, _same("--dtb")),
    "m": _Option(True, _memory),
    "smp": _Option(True, _smp),
    "gdb": _Option(True, _gdb),
    "serial": _Option(True, _serial),
    "no-reboot": _Option(False, lambda _: ["--no-reboot"]),
    "accel": _default("kvm"),
    "cpu": _default("host", "max"),
    **dict.fromkeys(("M", "machine"), _Option(True, _machine)),
    **dict.fromkeys(("s", "S", "nographic", "enable-kvm", "nodefaults"), _DEFAULT),
    **dict.fromkeys(("display", "monitor", "vga", "parallel"), _NOTHING),
    **dict.fromkeys(("drive", "device", "blockdev", "netdev", "nic", "net", "hda"), _DEVICE),
    **dict.fromkeys(("cdrom", "fsdev", "virtfs", "bios", "pflash", "chardev", "object"), _DEVICE),
    **dict.fromkeys(("daemonize", "snapshot", "no-shutdown", "no-user-config"), _DROPPED),
    **dict.fromkeys(("usb", "semihosting", "preconfig"), _DROPPED),
    **dict.fromkeys(("qmp", "qmp-pretty", "mon", "d", "D", "dfilter", "trace"), _DROPPED_WITH),
    **dict.fromkeys(("name", "uuid", "pidfile", "rtc", "icount", "boot", "L"), _DROPPED_WITH),
    **dict.fromkeys(("global", "numa", "fw_cfg", "smbios", "sandbox", "k"), _DROPPED_WITH),
    **dict.fromkeys(("incoming", "loadvm", "plugin", "vnc", "spice", "audio"), _DROPPED_WITH),
    **dict.fromkeys(("action", "watchdog-action", "semihosting-config"), _DROPPED_WITH),
    **dict.fromkeys(("mem-path", "msg", "readconfig", "run-with", "seed"), _DROPPED_WITH),
    **dict.fromkeys(("usbdevice", "tpmdev", "add-fd", "set", "overcommit"), _DROPPED_WITH),
}


def explain(words: Sequence[str]) -> str:
    """Return the command that means what *words* mean to QEMU; empty if no option is QEMU's.

    *words* are the arguments of ``gdbstub run``. QEMU lets a guest run that has a stub and no
    ``-S``; so does the command then. What has no counterpart is named, and is not in the command.
    """
    ours: list[str] = []
    found: list[str] = []
    dropped: list[str] = []
    rest = iter(words)
    for word in rest:
        # QEMU takes two hyphens for one.
        long = word[2:] in _OPTIONS and word[:2] == "--" and word not in _OURS
        name = word[2:] if long else word[1:]
        if not (long or re.match("-[a-zA-Z]", word)) or re.fullmatch("-v+|-h", word):
            ours.append(word)
            continue
        known = _OPTIONS.get(name)
        if known:
            found.append(word)
        option = known or _DROPPED
        text = next(rest, "") if option.argument else ""
        if option.argument and (not text or (text[0] == "-" and text[1:] in _OPTIONS)):
            return (
                f"{word} is an option of QEMU, and its argument is missing; what gdbstub run "
                "takes: gdbstub run --help"
            )
        if option.ours is None and text != "none":
            return (
                f"{word} is an option of QEMU, and gdbstub run has no such device; a guest of "
                f"QEMU is debugged by gdbstub launch -- {_QEMU} {word} {text} …"
            )
        same = option.ours(text) if option.ours else []
        if same is None:
            dropped.append(shlex.join([word, text] if option.argument else [word]))
        else:
            ours += same
    if not found:
        return ""
    names = {word.lstrip("-") for word in found}
    if {"s", "gdb"} & names and "S" not in names:
        ours.append("--free-run")
    command = shlex.join(["gdbstub", "run", *ours])
    without = f"; not carried over: {', '.join(dropped)}" if dropped else ""
    return f"{found[0]} is an option of QEMU; the same here: {command}{without}"
