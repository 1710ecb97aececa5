"""The journal of a foreign guest, and the patches that it is of."""

import os
import resource
import signal
from pathlib import Path

import pytest

from gdbstub.errors import InputError, MachineError
from gdbstub.foreign import journal
from gdbstub.foreign.journal import Journal
from gdbstub.foreign.memory import ForeignRam, MemorySlot, RamArea
from gdbstub.foreign.patches import NoLog, Patch, Patches, restore
from gdbstub.foreign.process import VmmProcess
from gdbstub.swbp import BRK, SoftwareBreakpoints


@pytest.fixture
def journals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(journal, "directory", lambda: tmp_path)
    return tmp_path


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


class Debugged:
    """RAM with a BRK at 0x1004, as a debugger writes and a journal knows it."""

    def __init__(self) -> None:
        self.memory, self.log = Bytes(), Log()
        self.ram = ForeignRam(self.memory, [MemorySlot(0x1000, 64, 0)], "", lambda *_: None)
        self.patches = Patches(self.ram, self.log)
        self.breakpoints = SoftwareBreakpoints(self)
        self.breakpoints.insert(0x1004, 0x1004)
        self.breakpoints.apply()
        assert self.memory.read(4, 4) == BRK

    def read_memory(self, ipa: int, length: int) -> bytes:
        return self.ram.read(ipa, length)

    def write_memory(self, ipa: int, data: bytes) -> None:
        self.patches.write(ipa, data)

    def recover(self) -> bytes:
        """Do what is done when the debugger has been killed; return 8 bytes from the BRK on."""
        for ipa, patch in self.log.left.items():
            restore(self.ram, ipa, patch)
        return self.memory.read(4, 8)


@pytest.mark.parametrize(
    ("gva", "expected"),
    [
        (0x1004, b"part" + bytes(range(8, 12))),
        (0x1006, bytes(range(4, 6)) + b"part" + bytes(range(10, 12))),
        (0x1002, b"rt" + bytes(range(6, 12))),
    ],
)
def test_what_a_client_writes_over_a_breakpoint_is_recovered(gva: int, expected: bytes) -> None:
    debugged = Debugged()
    debugged.breakpoints.write(gva, b"part")
    assert debugged.memory.read(4, 4) == BRK
    assert debugged.breakpoints.original_word(0x1004) == expected[:4]
    assert debugged.recover() == expected


def test_what_the_guest_writes_over_a_breakpoint_that_is_inserted_again_is_recovered() -> None:
    debugged = Debugged()
    debugged.memory.write(4, b"new!")  # ftrace, a module or a program loaded there
    debugged.breakpoints.apply()  # the next resume
    assert debugged.memory.read(4, 4) == BRK
    assert debugged.recover() == b"new!" + bytes(range(8, 12))


def test_all_patches_go_although_the_journal_has_no_room(journals: Path) -> None:
    memory = Bytes()
    ram = ForeignRam(memory, [MemorySlot(0x1000, 64, 0)], "", lambda hva, length: None)
    with Journal(VmmProcess(os.getpid())) as log:
        log.begin(ram.slots, ())
        patches = Patches(ram, log)
        for at in range(0x1000, 0x1020, 4):
            patches.write(at, BRK)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (log.path.stat().st_size, before[1]))
        try:
            patches.withdraw()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)
    assert memory.read(0, 64) == bytes(range(64))


def test_a_journal_does_not_grow_with_the_hits(journals: Path) -> None:
    ram = ForeignRam(Bytes(), [MemorySlot(0x1000, 64, 0)], "", lambda hva, length: None)
    process = VmmProcess(os.getpid())
    with Journal(process) as log:
        log.begin(ram.slots, ())
        patches = Patches(ram, log)
        patches.write(0x1008, BRK)
        for _ in range(5000):  # hits of one breakpoint with a false condition
            patches.write(0x1004, BRK)
            patches.write(0x1004, bytes(range(4, 8)))
        assert log.path.stat().st_size < 1 << 17
        with pytest.raises(InputError, match="is being debugged by another"):
            Journal(process)
        patches.write(0x100C, BRK)
    assert [each.name for each in journals.iterdir()] == [log.path.name]
    with Journal(process) as found:
        assert found.slots == ram.slots
        assert found.left == {
            0x1008: Patch(bytes(range(8, 12))),
            0x100C: Patch(bytes(range(12, 16))),
        }


@pytest.mark.parametrize("made", ["file", "link", "shared"])
def test_a_directory_for_journals_that_cannot_be_had_is_one_line(
    made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "temporary_places", lambda: [tmp_path])
    monkeypatch.setattr(journal, "is_safe_parent", lambda path: path == tmp_path)  # not root's
    path = tmp_path / f"gdbstub-{os.geteuid()}"
    if made == "file":
        path.touch()
    elif made == "link":
        path.symlink_to(tmp_path / "nowhere")
    else:
        path.mkdir()
    with pytest.raises(InputError, match=f"{path}.* must be a directory of this user alone"):
        journal.directory()
    monkeypatch.setattr(journal, "is_safe_parent", lambda _: False)
    with pytest.raises(InputError, match=r"other users could replace a journal in .*set XDG_R"):
        journal.directory()
