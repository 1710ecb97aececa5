"""Evidence of a run in its files: the stop reason in its record, the backtrace in its output."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

#: Number of bytes at the end of a file that are looked at.
_TAIL: Final = 1 << 18
#: Number of functions in a backtrace that tell failures apart.
_DEPTH: Final = 8

#: Keys of a stop reply that name the reason (GDB manual, E.3 "Stop Reply Packets").
_REASONS: Final = {
    *("watch", "rwatch", "awatch", "swbreak", "hwbreak", "syscall_entry", "syscall_return"),
    *("library", "fork", "vfork", "vforkdone", "exec", "create", "replaylog"),
}
#: Names of GDB's signals from 0 on (include/gdb/signals.def).
_SIGNALS: Final = (
    "no signal SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGEMT SIGFPE SIGKILL SIGBUS "
    "SIGSEGV SIGSYS SIGPIPE SIGALRM SIGTERM"
).replace("no signal", "0").split()  # fmt: skip
_RESUME: Final = re.compile(r"<- \$(?:[cCsS](?:[0-9a-f]|;|$)|vCont;|b[cs]$)")
_STOP: Final = re.compile(r"-> \$([TSWX])([0-9a-f]{2})(.*)")

_GDB_FRAME: Final = re.compile(r"#([0-9]{1,9})\s+(?:0x[0-9a-f]+ in )?(\S.*?) \(")
_LLDB_FRAME: Final = re.compile(
    r"\s*(?:\* )?frame #([0-9]{1,9}): 0x[0-9a-f]+ (?:\S+`)?(.+?)(?:\(| \+ | at |$)"
)
_GDB_STOP: Final = re.compile(
    r"(?:Thread \S+ (?:hit|received) )?(?:Temporary breakpoint|Breakpoint|Catchpoint) \d+, "
    r"(?:0x[0-9a-f]+ in )?(\S.*?) \("
)
_GDB_PLACE: Final = re.compile(r"0x[0-9a-f]+ in (\S.*?) \(")


def tail(path: Path, size: int = _TAIL) -> str:
    """Return the last *size* bytes of a file, as text; empty if there is none."""
    try:
        return tail_bytes(path, size).decode(errors="replace")
    except FileNotFoundError:
        return ""


def tail_bytes(path: Path, size: int) -> bytes:
    """Return the last *size* bytes of a file."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - size))
        return file.read(size)


def stop_reason(record: str) -> str:
    """Return why the guest was at rest at the end of a record of packets.

    It is ``running`` if it was not, ``halted`` before the first resume, and empty without a stop
    reply.
    """
    reason, resumed = "", False
    for line in record.splitlines():
        if _RESUME.match(line):
            reason, resumed = "running", True
        elif stop := _STOP.match(line):
            reason = _reason(*stop.groups()) if resumed else "halted"
    return reason


def _reason(kind: str, number: str, rest: str) -> str:
    value = int(number, 16)
    if kind == "W":
        return f"exited {value}"
    name = _SIGNALS[value] if value < len(_SIGNALS) else f"signal {value}"
    if kind == "X":
        return f"killed by {name}"
    keys = (field.partition(":")[0] for field in rest.split(";"))
    return next((key for key in keys if key in _REASONS), name)


def backtrace(output: str) -> str:
    """Return the functions of the last backtrace in what GDB or LLDB printed, innermost first.

    Addresses and arguments, which differ from run to run, are not part of it. Without a
    backtrace it is the function of the last stop.
    """
    lines = output.splitlines()
    for pattern in (_GDB_FRAME, _LLDB_FRAME):
        if frames := _last_frames(pattern, lines):
            return " < ".join(frames[:_DEPTH])
    for pattern in (_GDB_STOP, _GDB_PLACE):
        if places := [found[1] for line in lines if (found := pattern.match(line))]:
            return places[-1]
    return ""


def _last_frames(pattern: re.Pattern[str], lines: Iterable[str]) -> list[str]:
    frames: list[str] = []
    for line in lines:
        if found := pattern.match(line):
            if found[1] == "0":
                frames.clear()
            if int(found[1]) == len(frames):
                frames.append(found[2])
    return frames
