"""Guests of other VMMs: what can be told without one."""

import json
import mmap
import os
import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest

from gdbstub.cli.commands.vms import vms
from gdbstub.errors import InputError, MemoryFault
from gdbstub.foreign import permission, process, qmp, sigframe, slots
from gdbstub.foreign.injection import ProcessMemory
from gdbstub.foreign.memory import ForeignRam, MemorySlot, pages
from gdbstub.foreign.permission import Credentials
from gdbstub.foreign.process import Descriptors, ProcessMapping, VmmProcess
from gdbstub.foreign.ptrace import ffi
from gdbstub.foreign.slots import parse_ram
from tests.bounds import HANGS

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
  0000000040000000-000000004fffffff (prio -1, ram): mach-virt.ram KVM
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
    assert qmp.ranges(MTREE.replace("\n", end)) == [
        (0, 0x400_0000, True),
        (0x4000_0000, 0x1000_0000, False),
        (0x1_0000_0000, 0x4000_0000, False),
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
FILTERED = ROOT._replace(filtered=True)


def test_nothing_in_the_way() -> None:
    assert not permission.obstacle("VMM", STATUS, USER)
    assert not permission.obstacle("VMM", STATUS, ROOT._replace(yama=2))
    assert not permission.obstacle("VMM", STATUS, USER._replace(yama=1), descendant=True)
    assert not permission.obstacle("VMM", {**STATUS, "Seccomp": "2"}, ROOT)
    assert not permission.obstacle("VMM", STATUS, FILTERED)


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
        ({"Seccomp": "2"}, FILTERED, "this process has one of its own.*outside of its container"),
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


@pytest.mark.parametrize("address", [-4, 1 << 63, 1 << 64, 1 << 100])
def test_an_address_that_no_process_has(address: int) -> None:
    """``--ram``, a QMP server and a journal may have told of it."""
    memory = ProcessMemory(os.getpid())
    ram = ForeignRam(memory, [MemorySlot(0x4000_0000, 4096, address)], "", lambda *_: None)
    for access in (lambda: ram.read(0x4000_0000, 4), lambda: ram.write(0x4000_0000, bytes(4))):
        with pytest.raises(MemoryFault, match=r"^the VMM's memory behind 0x40000000 cannot be"):
            access()
    memory.close()


def test_pages() -> None:
    assert pages(0x1234, 4) == (0x1000, 0x1000)
    assert pages(0x1FFE, 4) == (0x1000, 0x2000)


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
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2
    assert said[1].split()[:2] == ["4194303", shown]
    assert f"({shown}) is another" in said[1]


@pytest.mark.parametrize("end", ["\r", "\v", "\f", "\x1c", "\x85", "\u2028"])
def test_a_name_that_another_process_gives_a_file_ends_no_line_of_its_mappings(
    end: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a{end}10000-20000 r-xp 00000000 00:00 0 [fake]"
    path.write_bytes(bytes(mmap.PAGESIZE))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ):
        found = VmmProcess(os.getpid()).mappings()
    assert sum(each.name == str(path) for each in found) == 1
    assert not [each for each in found if each.name == "[fake]"]


def test_the_text_of_another_process_is_looked_through_as_far_as_text_goes() -> None:
    class Endless:
        """Memory of a process that maps more than there is."""

        reads = 0

        def read(self, address: int, length: int) -> bytes:
            assert length < 2 << 20
            self.reads += 1
            return b"abcdabcd"[address % 4 :] * 8

    memory = Endless()
    texts = [ProcessMapping(0x10000, 1 << 46, "r-xp", "/hostile")]
    found = process._find(cast("ProcessMemory", memory), texts, b"efgh")
    assert found is None
    assert memory.reads <= 4096
    assert process._find(cast("ProcessMemory", memory), texts, b"abcd") == 0x10000


def test_code_across_two_pieces_of_text_is_found() -> None:
    class Text:
        data = bytes((1 << 20) - 4) + b"efghijkl" + bytes(100)

        def read(self, address: int, length: int) -> bytes:
            return self.data[address : address + length]

    texts = [ProcessMapping(0, len(Text.data), "r-xp", "/text")]
    assert process._find(cast("ProcessMemory", Text()), texts, b"efghijkl") == (1 << 20) - 4


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
        thread.join(HANGS)
        assert not thread.is_alive()


def test_qemu_s_monitor_is_asked_between_its_events(tmp_path: Path) -> None:
    mtree = MTREE.replace("\n", "\r\n")
    hvas = {
        "gpa2hva 0x0": 0xCCCC_0000,
        "gpa2hva 0x40000000": 0xFFFF_0000,
        "gpa2hva 0x100000000": 0xAAAA_0000,
    }

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
            MemorySlot(0, 0x400_0000, 0xCCCC_0000, rom=True),
            MemorySlot(0x4000_0000, 0x1000_0000, 0xFFFF_0000),
            MemorySlot(0x1_0000_0000, 0x4000_0000, 0xAAAA_0000),
        ]
        thread.join(HANGS)
