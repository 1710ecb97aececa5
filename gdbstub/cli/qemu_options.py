"""QEMU's options, as people type them from habit, in terms of ``gdbstub run``.

It runs nothing: the answer is the text of an error.
"""

import re
import shlex
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

_QEMU: Final = "qemu-system-aarch64"


class _Option(NamedTuple):
    """One option of QEMU: whether an argument follows, and our words for it.

    Without ``ours`` there is nothing like it here.
    """

    argument: bool
    ours: Callable[[str], Sequence[str]] | None


def _memory(text: str) -> Sequence[str]:
    size = text.split(",")[0].removeprefix("size=")
    return [f"--memory={size}{'M' if size.isdigit() else ''}"]


def _smp(text: str) -> Sequence[str]:
    number = re.match(r"(?:cpus=)?(\d+)", text)
    return [f"--smp={number[1] if number else text}"]


def _gdb(text: str) -> Sequence[str]:
    kind, _, rest = text.split(",")[0].partition(":")
    host, _, port = rest.rpartition(":")
    return [f"--gdb={host or 'localhost'}:{port}" if kind == "tcp" else f"--gdb=unix:{rest}"]


def _serial(text: str) -> Sequence[str]:
    return [f"--console={text.removeprefix('file:')}"] if text.startswith("file:") else []


def _same(flag: str) -> Callable[[str], Sequence[str]]:
    return lambda text: [f"{flag}={text}"]


#: What is so in any case: the machine, its CPU and console, a stub at port 1234, a halted guest.
_DEFAULT: Final = _Option(False, lambda _: [])
_DEFAULT_OF: Final = _Option(True, lambda _: [])
_DEVICE: Final = _Option(True, None)

_OPTIONS: Final = {
    "kernel": _Option(True, lambda text: [text]),
    "append": _Option(True, _same("--append")),
    "initrd": _Option(True, _same("--initrd")),
    "dtb": _Option(True, _same("--dtb")),
    "m": _Option(True, _memory),
    "smp": _Option(True, _smp),
    "gdb": _Option(True, _gdb),
    "serial": _Option(True, _serial),
    **dict.fromkeys(("s", "S", "nographic", "enable-kvm", "no-reboot", "nodefaults"), _DEFAULT),
    **dict.fromkeys(("M", "machine", "cpu", "accel", "display", "monitor", "vga"), _DEFAULT_OF),
    **dict.fromkeys(("drive", "device", "blockdev", "netdev", "nic", "net", "hda"), _DEVICE),
    **dict.fromkeys(("cdrom", "fsdev", "virtfs", "bios", "pflash", "chardev", "object"), _DEVICE),
}


def explain(words: Sequence[str]) -> str:
    """Return the command that means what *words* mean to QEMU; empty if no option is QEMU's.

    *words* are the arguments of ``gdbstub run``. QEMU lets a guest run that has a stub and no
    ``-S``; so does the command then.
    """
    ours: list[str] = []
    found: list[str] = []
    rest = iter(words)
    for word in rest:
        option = _OPTIONS.get(word[1:]) if re.match("-[a-zA-Z]", word) else None
        if option is None:
            ours.append(word)
            continue
        found.append(word)
        text = next(rest, "") if option.argument else ""
        if option.ours is None:
            return (
                f"{word} is an option of QEMU, and gdbstub run has no such device; a guest of "
                f"QEMU is debugged by gdbstub launch -- {_QEMU} {word} {text} …"
            )
        ours += option.ours(text)
    if not found:
        return ""
    if {"-s", "-gdb"} & set(found) and "-S" not in found:
        ours.append("--free-run")
    return (
        f"{found[0]} is an option of QEMU; the same here: {shlex.join(['gdbstub', 'run', *ours])}"
    )
