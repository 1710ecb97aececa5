"""VMM processes as /proc shows them: descriptors of VMs and vCPUs, threads, mappings.

Nothing is traced here. Source: proc(5), linux/virt/kvm/kvm_main.c (the names of descriptors).
"""

import itertools
import os
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from gdbstub.errors import InputError, printable
from gdbstub.foreign import ptrace, sigframe
from gdbstub.foreign.injection import Gadgets, ProcessMemory
from gdbstub.numbers import parse_number

_VCPU: Final = re.compile(r"anon_inode:kvm-vcpu:(\d+)$")
_VM: Final = "anon_inode:kvm-vm"
_MAPPING: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) \S+ \d+\s*(.*)")
_AT_ENTRY: Final = 9  # getauxval(3)
#: Bytes of its text that are looked through at once, and how many times.
_PIECE: Final = 1 << 20
_PIECES: Final = 1024
_START_TIME: Final = 19  # the field of /proc/PID/stat after the command's name, from 0


class ProcessMapping(NamedTuple):
    """A line of /proc/PID/maps."""

    start: int
    end: int
    #: Permissions, such as ``rw-p``.
    flags: str
    name: str

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.end - self.start


class Descriptors(NamedTuple):
    """The KVM descriptors of a process: one of each VM and vCPU, the lowest."""

    vms: tuple[int, ...]
    #: By vCPU id.
    vcpus: dict[int, int]
    #: Other descriptors of vCPUs, to those above: a VMM may copy them.
    copies: Mapping[int, int] = MappingProxyType({})


class PendingSignals(NamedTuple):
    """The signals that are pending for a thread, as masks: bit 0 is of signal 1."""

    #: Signals that it takes as soon as it runs.
    deliverable: int
    #: Signals sent to it that it blocks, perhaps not within KVM_RUN (KVM_SET_SIGNAL_MASK).
    blocked: int


class VmmProcess:
    """One process, by its pid; ``start_time`` tells it from a later one with that pid."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.path = Path(f"/proc/{pid}")

    @property
    def name(self) -> str:
        """The name of its program's file, or of its command; its user may have made it up."""
        try:
            name = Path(os.readlink(self.path / "exe")).name.removesuffix(" (deleted)")
        except OSError:
            name = self._text("comm").strip()
        return printable(name)

    @property
    def command_line(self) -> list[str]:
        """The process's arguments, the program's name first."""
        return self._text("cmdline").rstrip("\0").split("\0")

    @property
    def start_time(self) -> int:
        """The time of its start, in ticks since the host's; with the pid it names one process.

        Raises:
            InputError: there is no such process.
        """
        return int(self._text("stat").rpartition(")")[2].split()[_START_TIME])

    @property
    def entry(self) -> int:
        """The address of its program's first instruction, which the dynamic loader goes to last.

        Raises:
            InputError: there is no such process, or it does not say.
        """
        try:
            pairs = struct.iter_unpack("<QQ", (self.path / "auxv").read_bytes())
        except OSError:
            raise InputError(f"there is no process {self.pid}") from None
        for kind, value in pairs:
            if kind == _AT_ENTRY:
                return int(value)
        raise InputError(f"{self.path / 'auxv'} names no entry point of the program (AT_ENTRY)")

    def file(self, name: str) -> Path:
        """Return a path of ours to what the process calls *name*, in its own root and directory."""
        place = "root" if name.startswith("/") else "cwd"
        return self.path / place / name.lstrip("/")

    def status(self) -> dict[str, str]:
        """Return the fields of /proc/PID/status.

        Raises:
            InputError: there is no such process.
        """
        return self._fields("status")

    def thread_statuses(self) -> Iterator[dict[str, str]]:
        """List the same fields of each of its threads, but of those that end meanwhile."""
        for tid in self.threads():
            with suppress(InputError):
                yield self._fields(f"task/{tid}/status")

    def _fields(self, name: str) -> dict[str, str]:
        lines = self._text(name).split("\n")  # a name may hold what else ends a line
        return {field: value.strip() for field, _, value in (line.partition(":") for line in lines)}

    @property
    def ended(self) -> bool:
        """True if it has ended, whether its parent has noticed that or not."""
        try:
            return self.status()["State"].startswith(("Z", "X"))
        except InputError:
            return True

    def _text(self, name: str) -> str:
        try:
            # As text a carriage return in a name would end a line.
            return (self.path / name).read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            raise InputError(f"there is no process {self.pid}") from None
        except OSError as error:
            raise InputError(f"{self.path / name} cannot be read: {error.strerror}") from None

    def descriptors(self) -> Descriptors:
        """Return its KVM descriptors.

        Raises:
            InputError: there is no such process, or its descriptors may not be listed.
        """
        vms: list[int] = []
        vcpus: dict[int, int] = {}
        copies: dict[int, int] = {}
        try:
            names = sorted(map(int, os.listdir(self.path / "fd")))
        except FileNotFoundError:
            raise InputError(f"there is no process {self.pid}") from None
        except PermissionError:
            raise InputError(
                f"the descriptors of process {self.pid} are not for this user: "
                "use the user of the VMM, or root"
            ) from None
        for fd in names:
            try:
                link = os.readlink(self.path / "fd" / str(fd))
            except OSError:
                continue  # closed meanwhile
            if link == _VM:
                if not any(ptrace.same_file(self.pid, fd, other) for other in vms):
                    vms.append(fd)
            elif match := _VCPU.match(link):
                copies[fd] = vcpus.setdefault(int(match[1]), fd)
        copies = {fd: first for fd, first in copies.items() if fd != first}
        return Descriptors(tuple(vms), dict(sorted(vcpus.items())), copies)

    def threads(self) -> list[int]:
        """Return the ids of its threads; none when it has ended."""
        try:
            return sorted(map(int, os.listdir(self.path / "task")))
        except OSError:
            return []

    def system_call(self, tid: int) -> tuple[int, ...] | None:
        """Return the number and arguments of a thread's system call; None if it runs or has ended.

        A thread in the guest runs.
        """
        try:
            words = (self.path / "task" / str(tid) / "syscall").read_text().split()
        except OSError:
            return None
        if not words or words[0] in ("running", "-1"):
            return None
        return int(words[0]), *(int(word, 16) for word in words[1:7])

    def executed(self, tid: int) -> float:
        """Return the seconds of processor time that a thread has had.

        Source: linux/Documentation/scheduler/sched-stats.rst.
        """
        try:
            with open(f"/proc/{self.pid}/task/{tid}/schedstat") as file:
                return int(file.readline().split()[0]) * 1e-9
        except OSError:
            return 0.0  # it has ended, which is found out elsewhere

    def sleeps(self, tid: int) -> bool:
        """Return True if a thread waits, and not for its tracer (proc(5), the state ``S``)."""
        try:
            # A name is there as it is, with whatever ends a line, or is no text.
            with open(f"{self.path}/task/{tid}/stat", "rb") as file:
                return file.read().rpartition(b")")[2].split()[0] == b"S"
        except OSError:
            return True  # it has ended, which is found out elsewhere

    def pending_signals(self, tid: int, blocked: int) -> PendingSignals:
        """Return the signals that are pending for a thread, which blocks those of a mask.

        None if it has ended. The mask is not read here: it is another one during our calls.
        """
        try:
            fields = self._fields(f"task/{tid}/status")
        except InputError:
            return PendingSignals(0, 0)  # which is found out elsewhere
        sent, shared = int(fields["SigPnd"], 16), int(fields["ShdPnd"], 16)
        return PendingSignals((sent | shared) & ~blocked, sent & blocked)

    def mappings(self) -> list[ProcessMapping]:
        """Return its mappings, by address."""
        found = (_MAPPING.match(line) for line in self._text("maps").split("\n"))
        return [
            ProcessMapping(int(match[1], 16), int(match[2], 16), match[3], match[5])
            for match in found
            if match
        ]

    def gadgets(self, memory: ProcessMemory) -> Gadgets:
        """Find the instructions in its text that our system calls are made with.

        Raises:
            InputError: its text has none.
        """
        texts = [each for each in self.mappings() if "x" in each.flags]
        sigreturn = _find(memory, [t for t in texts if t.name == "[vdso]"], sigframe.SIGRETURN)
        # The vDSO's own system calls authenticate x30 before they return.
        others = [t for t in texts if t.name.startswith("/")]
        syscall = _find(memory, others, sigframe.SYSCALL_RETURN)
        if syscall is None or sigreturn is None:
            what = "no vDSO" if sigreturn is None else "no instructions 'svc #0; ret'"
            raise InputError(
                f"process {self.pid} ({self.name}) has {what}, with which system calls are made "
                "in it; this VMM cannot be attached to"
            )
        return Gadgets(syscall, sigreturn)


def _find(memory: ProcessMemory, texts: list[ProcessMapping], code: bytes) -> int | None:
    """Return the first address of *code*; a process may map more than can be looked through."""
    pieces = (range(text.start, text.end, _PIECE) for text in texts)
    for start in itertools.islice(itertools.chain.from_iterable(pieces), _PIECES):
        try:
            data, at = memory.read(start, _PIECE + len(code) - 4), -1
        except OSError:  # behind the end of a file
            continue
        while (at := data.find(code, at + 1)) >= 0:
            if at % 4 == 0:
                return start + at
    return None


def check_vms(process: VmmProcess, found: Descriptors) -> None:
    """Check that the descriptors *found* of *process* are of one VM, and its vCPUs.

    Raises:
        InputError: they are not.
    """
    name = f"process {process.pid} ({process.name})"
    if not found.vms or not found.vcpus:
        raise InputError(f"{name} has no VM with vCPUs")
    if len(found.vms) > 1:
        raise InputError(
            f"{name} has {len(found.vms)} VMs; only a process with one can be attached to"
        )


def processes_with_vms() -> Iterator[tuple[VmmProcess, Descriptors]]:
    """List the processes that have a VM, as far as this user may see their descriptors."""
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        process = VmmProcess(pid)
        try:
            found = process.descriptors()
        except InputError:
            continue
        if found.vms and pid != os.getpid():
            yield process, found


def choose(text: str) -> VmmProcess:
    """Return the process that *text* names: a number, a VMM's name, or a guest's ``-name``.

    The number of a thread is that of its process.

    Raises:
        InputError: there is none, or several.
    """
    if text.isdecimal() and (pid := parse_number(text)) is not None:
        return VmmProcess(int(VmmProcess(pid).status()["Tgid"]))
    named = [each for each in processes_with_vms() if text in _names(each[0])]
    # What a VMM has forked has its VM, too, and runs no vCPU.
    found = [process for process, its in named if its.vcpus] or [process for process, _ in named]
    if len(found) == 1:
        return found[0]
    if found:
        numbers = ", ".join(str(process.pid) for process in found)
        raise InputError(f"{text!r} names processes {numbers}; give the number of one")
    raise InputError(f"no process with a VM is named {text!r}; gdbstub vms lists those there are")


def _names(process: VmmProcess) -> set[str]:
    names = set[str]()
    with suppress(InputError):  # it has ended meanwhile
        names.add(process.name)
        for option, value in itertools.pairwise(process.command_line):
            if option in ("-name", "--name"):
                names.add(value.split(",")[0].removeprefix("guest="))
    return names
