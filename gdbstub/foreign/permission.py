"""Permission to trace a VMM: what stands in the way, and the remedy, before anything is touched.

Source: ptrace(2), "Ptrace access mode checking"; linux/Documentation/admin-guide/LSM/Yama.rst.
"""

import os
import platform
from pathlib import Path
from typing import Final, NamedTuple

from gdbstub.errors import InputError
from gdbstub.foreign import ptrace
from gdbstub.foreign.process import VmmProcess

_YAMA: Final = Path("/proc/sys/kernel/yama/ptrace_scope")
_CAP_SYS_PTRACE: Final = 19
_CAP_SYS_ADMIN: Final = 21


class Credentials(NamedTuple):
    """Facts that decide if this process may trace another."""

    uid: int
    #: Effective capabilities, a bit each.
    capabilities: int
    #: Yama's ptrace_scope, 0 without Yama.
    yama: int
    #: True if it has a seccomp filter.
    filtered: bool = False

    def has(self, capability: int) -> bool:
        """Return True if this process has a capability."""
        return bool(self.capabilities >> capability & 1)


def own() -> Credentials:
    """Return the credentials of this process."""
    status = VmmProcess(os.getpid()).status()
    scope = int(_YAMA.read_text()) if _YAMA.exists() else 0
    filtered = int(status.get("Seccomp", "0")) > 0
    return Credentials(os.geteuid(), int(status["CapEff"], 16), scope, filtered)


def obstacle(
    name: str, status: dict[str, str], mine: Credentials, *, descendant: bool = False
) -> str:
    """Return what keeps this process from tracing one with *status*, and the remedy; or nothing."""
    all_mine = all(int(uid) == mine.uid for uid in status["Uid"].split()[:3])
    may = mine.has(_CAP_SYS_PTRACE)
    if tracer := int(status["TracerPid"]):
        return f"{name} is traced by process {tracer} already; end that first"
    if status["State"].startswith(("T", "t")):
        return f"{name} is stopped by a signal; continue it with: kill -CONT {status['Pid']}"
    if status["State"].startswith(("Z", "X")):
        return f"{name} has ended"
    if not all_mine and not may:
        return f"{name} is of user {status['Uid'].split()[0]}; use that user, or root"
    if mine.yama >= 3:
        return "Yama's ptrace_scope is 3: this host traces no process until it boots again"
    if mine.yama == 2 and not may:
        return "Yama's ptrace_scope is 2: tracing needs CAP_SYS_PTRACE; use root"
    if mine.yama == 1 and not may and not descendant:
        return (
            "Yama's ptrace_scope is 1: only descendants may be traced; use root, or "
            "gdbstub launch, or as root: sysctl kernel.yama.ptrace_scope=0"
        )
    return _filter_obstacle(name, status, mine)


def _filter_obstacle(name: str, status: dict[str, str], mine: Credentials) -> str:
    if not int(status.get("Seccomp", "0")):
        return ""
    what = f"{name} has a seccomp filter, which may not let our ioctls pass"
    if not mine.has(_CAP_SYS_ADMIN):
        return (
            f"{what}; suspending it needs CAP_SYS_ADMIN: "
            "use root, or start the VMM without the filter"
        )
    if mine.filtered:
        return (
            f"{what}; this process has one of its own, and may not suspend another: "
            "use gdbstub outside of its container, or start the VMM without the filter"
        )
    return ""


def check_host() -> None:
    """Check that this host may have guests that can be attached to.

    Raises:
        InputError: it has none.
    """
    if (machine := platform.machine().replace("_", "-")) != "aarch64":
        raise InputError(
            f"this machine is {machine}, and has no arm64 guests of KVM; "
            "gdbstub launch -- qemu-system-aarch64 ARGS starts one in the lab"
        )


def check(process: VmmProcess, *, descendant: bool = False) -> int:
    """Return the ptrace options that tracing *process* needs.

    Raises:
        InputError: it cannot be traced.
    """
    check_host()
    status = _status(process)
    status["TracerPid"] = _process_of(status["TracerPid"])
    if why := obstacle(_name(process), status, own(), descendant=descendant):
        raise InputError(why)
    return _suspension(status)


def suspension(process: VmmProcess) -> int:
    """Return the ptrace options that a process needs which is traced already.

    Raises:
        InputError: a thread of it has a seccomp filter that may not be suspended.
    """
    status = _status(process)
    if why := _filter_obstacle(_name(process), status, own()):
        raise InputError(why)
    return _suspension(status)


def _suspension(status: dict[str, str]) -> int:
    return ptrace.O_SUSPEND_SECCOMP if int(status.get("Seccomp", "0")) else 0


def _name(process: VmmProcess) -> str:
    return f"process {process.pid} ({process.name})"


def _status(process: VmmProcess) -> dict[str, str]:
    """Return the status of a process; any thread may have a filter or a tracer of its own."""
    status = process.status()
    for each in process.thread_statuses():
        for field in ("TracerPid", "Seccomp"):
            if int(status.get(field, "0")) == 0:
                status[field] = each.get(field, "0")
    return status


def _process_of(tid: str) -> str:
    """Return the process of a thread; its own number if it has ended."""
    try:
        return VmmProcess(int(tid)).status()["Tgid"]
    except InputError:
        return tid
