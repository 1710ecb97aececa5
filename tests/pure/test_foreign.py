"""Guests of other VMMs: what can be told without one."""

import json
import os
import resource
import signal
import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from gdbstub.cli.commands.vms import vms
from gdbstub.errors import InputError, MachineError
from gdbstub.foreign import journal, permission, qmp, sigframe, slots
from gdbstub.foreign.journal import Journal
from gdbstub.foreign.memory import ForeignRam, MemorySlot, RamArea, pages
from gdbstub.foreign.patches import NoLog, Patch, Patches
from gdbstub.foreign.permission import Credentials
from gdbstub.foreign.process import Descriptors, VmmProcess
from gdbstub.foreign.ptrace import ffi
from gdbstub.foreign.slots import parse_ram
from gdbstub.swbp import BRK

MTREE = """\
FlatView #0
 AS "I/O", root: io
 Root memory region: io
  0000000000000000-000000000000ffff (prio 0, i/o): io

FlatView #1
 AS "memory", root: system
 AS "cpu-memory-0", root: system
 Root memory region: system
  0000000000000000-0000000003ffffff (prio 0, romd): virt.flash0
  0000000009000000-0000000009000fff (prio 0, i/o): pl011
  0000000040000000-000000004fffffff (prio 0, ram): mach-virt.ram KVM
  0000000100000000-000000013fffffff (prio 0, ram): dimm0 @0000000000000000 KVM

FlatView #2
 Root memory region: (none)
  0000000060000000-000000006fffffff (prio 0, ram): other
"""


@pytest.mark.parametrize(
    ("text", "slot"),
    [
        ("0x40000000=512M@0x7f2e80000000", MemorySlot(0x4000_0000, 512 << 20, 0x7F2E_8000_0000)),
        ("1073741824=0x1000@4096", MemorySlot(1 << 30, 4096, 4096)),
        ("0=1G@0x1000", MemorySlot(0, 1 << 30, 0x1000)),
    ],
)
def test_ram(text: str, slot: MemorySlot) -> None:
    assert parse_ram(text) == slot
    assert parse_ram(str(slot)) == slot


@pytest.mark.parametrize("text", ["", "1=2", "0x40000000@0x1000=1M", "0=0@0", "0=1K@0", "0=1X@0"])
def test_bad_ram(text: str) -> None:
    with pytest.raises(InputError, match=r"^--ram .*: expected "):
        parse_ram(text)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_qemus_ram(end: str) -> None:
    """QEMU ends the lines of its monitor by both."""
    assert qmp.ram_ranges(MTREE.replace("\n", end)) == [
        (0x4000_0000, 0x1000_0000),
        (0x1_0000_0000, 0x4000_0000),
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["-qmp", "unix:/run/q,server=on,wait=off"],
        ["-chardev", "socket,id=m,path=/run/q,server=on", "-mon", "chardev=m,mode=control"],
        ["-chardev", "socket,id=m,path=/run/q,server=on", "-mon", "m,mode=control"],
    ],
)
def test_qmp_sockets(arguments: list[str]) -> None:
    assert qmp.sockets(["qemu-system-aarch64", *arguments, "-nographic"]) == ["/run/q"]


def test_a_qmp_socket_that_nobody_answers(tmp_path: Path) -> None:
    assert qmp.slots(tmp_path / "absent") == []


STATUS = {
    "Pid": "7",
    "Uid": "1000\t1000\t1000\t1000",
    "State": "S (sleeping)",
    "TracerPid": "0",
    "Seccomp": "0",
}
USER = Credentials(1000, 0, 0)
ROOT = Credentials(0, -1, 0)


def test_nothing_in_the_way() -> None:
    assert not permission.obstacle("VMM", STATUS, USER)
    assert not permission.obstacle("VMM", STATUS, ROOT._replace(yama=2))
    assert not permission.obstacle("VMM", STATUS, USER._replace(yama=1), descendant=True)
    assert not permission.obstacle("VMM", {**STATUS, "Seccomp": "2"}, ROOT)


@pytest.mark.parametrize(
    ("change", "mine", "expected"),
    [
        ({"TracerPid": "9"}, ROOT, "VMM is traced by process 9 already; end that first"),
        ({"State": "T (stopped)"}, ROOT, "VMM is stopped by a signal; .*kill -CONT 7"),
        ({"State": "Z (zombie)"}, ROOT, "VMM has ended"),
        ({"Uid": "0\t0\t0\t0"}, USER, "VMM is of user 0; use that user, or root"),
        ({}, USER._replace(yama=1), "ptrace_scope is 1: .*gdbstub launch"),
        ({}, USER._replace(yama=2), "ptrace_scope is 2: .*CAP_SYS_PTRACE"),
        ({}, ROOT._replace(yama=3), "ptrace_scope is 3"),
        ({"Seccomp": "2"}, USER, "VMM has a seccomp filter.*CAP_SYS_ADMIN"),
    ],
)
def test_what_is_in_the_way(change: dict[str, str], mine: Credentials, expected: str) -> None:
    import re

    assert re.match(f".*{expected}", permission.obstacle("VMM", {**STATUS, **change}, mine))


def test_a_frame_has_what_rt_sigreturn_restores() -> None:
    regs = ffi.new("struct user_pt_regs *")
    regs.regs = list(range(100, 131))
    regs.sp, regs.pc, regs.pstate = 0x1000, 0x2000, 0x6000_0000
    vectors = ffi.new("struct user_fpsimd_state *")
    vectors.vregs = list(range(256)) * 2
    vectors.fpsr, vectors.fpcr = 3, 4
    frame = sigframe.encode(regs, vectors, 0x55)
    # Offsets of struct rt_sigframe, as a compiler has them: mask, x0, sp, pc, the first record.
    assert struct.unpack_from("<Q", frame, 168) == (0x55,)
    assert struct.unpack_from("<31Q", frame, 312) == tuple(range(100, 131))
    assert struct.unpack_from("<3Q", frame, 312 + 8 * 31) == (0x1000, 0x2000, 0x6000_0000)
    assert struct.unpack_from("<4I", frame, 592) == (0x4650_8001, 528, 3, 4)
    assert frame[608 : 608 + 512] == bytes(range(256)) * 2
    assert not any(frame[592 + 528 :])


class Bytes:
    """A process's memory."""

    def __init__(self) -> None:
        self.data = bytearray(range(64))

    def read(self, address: int, length: int) -> bytes:
        return bytes(self.data[address : address + length])

    def write(self, address: int, data: bytes) -> int:
        self.data[address : address + len(data)] = data
        return len(data)

    def close(self) -> None:
        pass


class Log(NoLog):
    def __init__(self) -> None:
        self.left: dict[int, Patch] = {}

    def patched(self, ipa: int, patch: Patch) -> None:
        self.left[ipa] = patch

    def restored(self, ipa: int) -> None:
        del self.left[ipa]


def test_brks_are_recorded_and_withdrawn() -> None:
    memory, log = Bytes(), Log()
    synchronised: list[tuple[int, int]] = []
    ram = ForeignRam(
        memory,
        [MemorySlot(0x1000, 64, 0)],
        "",
        lambda hva, length: synchronised.append((hva, length)),
    )
    patches = Patches(ram, log)
    patches.write(0x1004, BRK)
    patches.write(0x1008, BRK)
    patches.write(0x100C, BRK)
    assert log.left == {
        0x1004: Patch(bytes(range(4, 8))),
        0x1008: Patch(bytes(range(8, 12))),
        0x100C: Patch(bytes(range(12, 16))),
    }
    patches.write(0x1004, bytes(range(4, 8)))
    ram.write(0x100C, b"own!")  # the guest's own word
    patches.withdraw()
    assert (len(patches), log.left) == (0, {})
    assert memory.read(0, 16) == bytes(range(12)) + b"own!"
    assert (4, 4) in synchronised


def test_a_temporary_instruction_is_recorded_until_another_is_written() -> None:
    memory, log = Bytes(), Log()
    ram = ForeignRam(memory, [MemorySlot(0x1000, 64, 0)], "", lambda hva, length: None)
    patches = Patches(ram, log)
    for ipa in 0x1004, 0x1008, 0x100C:
        patches.write(ipa, b"mine", temporary=True)
    assert log.left[0x1008] == Patch(bytes(range(8, 12)), b"mine")
    patches.write(0x1004, b"new.")
    assert log.left.keys() == {0x1008, 0x100C}
    ram.write(0x100C, b"own!")  # the guest's own word
    patches.withdraw()
    assert log.left == {}
    assert memory.read(0, 16) == bytes(range(4)) + b"new." + bytes(range(8, 12)) + b"own!"


def test_the_journal_of_an_older_version_has_breakpoints_alone(journals: Path) -> None:
    with Journal(VmmProcess(os.getpid())) as made:
        made.begin([MemorySlot(0x1000, 64, 0)], ())
        made.path.write_text(made.path.read_text() + "+ 1000 61626364\n")
    with Journal(VmmProcess(os.getpid())) as found:
        assert found.left == {0x1000: Patch(b"abcd")}


def test_pages() -> None:
    assert pages(0x1234, 4) == (0x1000, 0x1000)
    assert pages(0x1FFE, 4) == (0x1000, 0x2000)


def test_a_journal_outlives_its_debugger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "directory", lambda: tmp_path)
    slots, areas = (MemorySlot(0x4000_0000, 4096, 4096),), (RamArea(4096, 8192, 3),)
    process = VmmProcess(os.getpid())
    with Journal(process) as first:
        assert not first.stale
        first.begin(slots, areas)
        first.patched(0x4000_0000, Patch(b"ABCD"))
        first.patched(0x4000_0010, Patch(b"EFGH"))
        first.restored(0x4000_0000)
    with Journal(process) as second:
        assert (second.stale, second.slots, second.areas) == (True, slots, areas)
        assert second.left == {0x4000_0010: Patch(b"EFGH")}
        second.end()
    assert not Journal.exists(process)


@pytest.mark.parametrize("name", ["\x1b]0;owned\x07", "[red]", "[0)", "\udcff\n", ":smile:"])
def test_the_name_of_another_user_s_process_is_text_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    os.symlink(name, tmp_path / "exe")
    process = VmmProcess(4_194_303)
    monkeypatch.setattr(process, "path", tmp_path)

    def check(_: VmmProcess) -> None:
        raise InputError(f"process 4194303 ({process.name}) is another user's")

    monkeypatch.setattr(permission, "check", check)
    monkeypatch.setattr(slots, "candidates", lambda _: iter(()))
    found = (process, Descriptors((3,), {0: 4}))
    monkeypatch.setattr("gdbstub.foreign.process.processes_with_vms", lambda: iter((found,)))
    assert vms.main([], standalone_mode=False) == 0
    shown = "".join(c if c.isprintable() else "?" for c in name)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2
    assert said[1].split()[:2] == ["4194303", shown]
    assert f"({shown}) is another" in said[1]


@pytest.fixture
def journals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(journal, "directory", lambda: tmp_path)
    return tmp_path


def test_a_journal_that_was_cut_short_anywhere_has_what_was_whole(journals: Path) -> None:
    process = VmmProcess(os.getpid())
    with Journal(process) as made:
        made.begin([MemorySlot(0x1000, 64, 0)], ())
        made.patched(0x1000, Patch(b"abcd"))
        made.patched(0x1004, Patch(b"efgh", b"ijkl"))
        made.restored(0x1000)
    whole = made.path.read_bytes()
    for size in range(len(whole)):
        made.path.write_bytes(whole[:size])
        lines = whole[:size].count(b"\n")
        with Journal(process) as found:
            assert found.stale is (lines > 0)
            assert found.slots == ((MemorySlot(0x1000, 64, 0),) if lines else ())
            left = {0x1000: Patch(b"abcd"), 0x1004: Patch(b"efgh", b"ijkl")}
            assert found.left == dict(list(left.items())[: max(0, lines - 1)])


@pytest.mark.parametrize(
    "text", [b"\n", b"5\n", b"[]\n", b"{}\n", b'{"slots": 1}\n', b"\xff\n", b"[" * 9999 + b"\n"]
)
def test_a_damaged_journal_is_one_line(text: bytes, journals: Path) -> None:
    process = VmmProcess(os.getpid())
    with Journal(process) as made:
        assert made.path.exists()
    assert not made.path.exists()  # nothing was in it
    made.path.write_bytes(text)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(InputError, match=r"\.journal is damaged: .* remove the file"):
        Journal(process)
    assert os.listdir("/proc/self/fd") == before


def test_a_journal_that_cannot_be_written_says_so_and_has_no_half_line(journals: Path) -> None:
    with Journal(VmmProcess(os.getpid())) as made:
        made.begin([MemorySlot(0x1000, 64, 0)], ())
        size = made.path.stat().st_size
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 4, before[1]))
        try:
            for _ in range(2):
                with pytest.raises(MachineError, match=r"\.journal cannot be written: "):
                    made.patched(0x1000, Patch(b"abcd"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)
        assert made.path.stat().st_size == size
        made.patched(0x1000, Patch(b"abcd"))
    with Journal(VmmProcess(os.getpid())) as found:
        assert found.left == {0x1000: Patch(b"abcd")}


HELLO = b'{"QMP": {}}\n{"return": {}}\n'


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"x" * (5 << 20),
        b"[1]\n" * 5,
        b"5\n" * 5,
        b"null\n" * 5,
        b"[" * 100_000 + b"\n",
        b"\xff\n",
        HELLO + b'{"error": 5}\n',
        HELLO + b'{"event": 1}\n' * 1000,
        HELLO + b'{"return": ' + b"1" * 5000 + b"}\n",
        HELLO + b'{"event": "',
    ],
)
def test_a_monitor_that_is_not_qemu_s_is_left_alone(
    said: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qmp, "_SECONDS", 0.3)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "qmp"))
        listener.listen()

        def answer() -> None:
            client, _ = listener.accept()
            with client, suppress(OSError):
                client.sendall(said)
                while client.recv(4096):
                    pass

        thread = threading.Thread(target=answer)
        thread.start()
        assert qmp.slots(tmp_path / "qmp") == []
        thread.join(20)
        assert not thread.is_alive()


def test_qemu_s_monitor_is_asked_between_its_events(tmp_path: Path) -> None:
    mtree = MTREE.replace("\n", "\r\n")
    hvas = {"gpa2hva 0x40000000": 0xFFFF_0000, "gpa2hva 0x100000000": 0xAAAA_0000}

    def answer(line: str) -> str:
        if line in hvas:
            return f"Host virtual address for {line.split()[1]} (ram) is {hvas[line]:#x}\r\n"
        return mtree if line == "info mtree -f" else ""

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "qmp"))
        listener.listen()

        def serve() -> None:
            client, _ = listener.accept()
            with client, client.makefile("rwb") as stream:
                stream.write(HELLO.splitlines()[0] + b"\n")
                stream.flush()
                for line in stream:
                    said = answer(json.loads(line)["arguments"].get("command-line", ""))
                    stream.write(b'{"event": "STOP"}\n%b\n' % json.dumps({"return": said}).encode())
                    stream.flush()

        thread = threading.Thread(target=serve)
        thread.start()
        assert qmp.slots(tmp_path / "qmp") == [
            MemorySlot(0x4000_0000, 0x1000_0000, 0xFFFF_0000),
            MemorySlot(0x1_0000_0000, 0x4000_0000, 0xAAAA_0000),
        ]
        thread.join(20)
