"""A snapshot of the lab: what is found wrong with one, what it depends on, and what is done."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import pytest

from gdbstub.cli.commands.lab import described
from gdbstub.errors import LabError
from gdbstub.lab import (
    boot,
    cache,
    directories,
    image,
    persistent,
    private,
    restore,
    snapshot,
    tools,
)
from gdbstub.lab.directories import PREFIX
from gdbstub.lab.processes import LabProcesses
from gdbstub.lab.qemu import Options

STATE: Final = b"the state of a lab"
KEY: Final = b"a private key"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A snapshot with nothing wrong."""
    directory = tmp_path / "snapshot-0123"
    directory.mkdir(mode=0o700)
    (directory / "ram").write_bytes(b"memory")
    (directory / "state").write_bytes(STATE)
    (directory / "key").write_bytes(KEY)
    fields = {
        "key_digest": hashlib.sha256(KEY).hexdigest(),
        "state_digest": hashlib.sha256(STATE).hexdigest(),
        "ram_bytes": 6,
        "ram_mtime_ns": (directory / "ram").stat().st_mtime_ns,
        "source": "0123",
    }
    (directory / snapshot.MANIFEST).write_text(json.dumps(fields))
    return directory


def test_a_whole_snapshot(saved: Path) -> None:
    assert snapshot.fault(saved) == ""
    assert snapshot.Snapshot.read(saved).state() == STATE


def test_one_that_another_process_has_made_anew_is_not_discarded(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QEMU could use neither's predecessor."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = snapshot.Snapshot.read(saved)
    fields = json.loads((saved / snapshot.MANIFEST).read_text())
    (saved / snapshot.MANIFEST).write_text(json.dumps({**fields, "state_digest": "another"}))
    cache.discard(saved, before.is_there)
    assert saved.exists()
    cache.discard(saved, snapshot.Snapshot.read(saved).is_there)
    assert not saved.exists()


def a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def truncate(directory: Path) -> None:
    ram = directory / "ram"
    time = ram.stat().st_mtime_ns
    os.truncate(ram, 3)
    os.utime(ram, ns=(time, time))


DAMAGES: Final[dict[str, tuple[Callable[[Path], object], str]]] = {
    "memory truncated": (truncate, "its memory has 3 of 6 bytes"),
    "memory written to": (
        lambda directory: (directory / "ram").write_bytes(b"MEMORY"),
        "its memory was written to",
    ),
    "memory absent": (lambda directory: (directory / "ram").unlink(), "ram is absent"),
    "state truncated": (
        lambda directory: (directory / "state").write_bytes(STATE[:-1]),
        "its state of 17 bytes is not the one that was saved",
    ),
    "state garbage": (
        lambda directory: (directory / "state").write_bytes(os.urandom(len(STATE))),
        "its state of 18 bytes is not the one that was saved",
    ),
    "state absent": (
        lambda directory: (directory / "state").unlink(),
        "its state cannot be read: No such file or directory",
    ),
    "key absent": (lambda directory: (directory / "key").unlink(), "key is absent"),
    "key empty": (
        lambda directory: os.truncate(directory / "key", 0),
        "its ssh key is not the one that was saved",
    ),
    "key a FIFO": (
        lambda directory: a_fifo(directory / "key"),
        "its ssh key cannot be read: no plain file",
    ),
    "state a FIFO": (
        lambda directory: a_fifo(directory / "state"),
        "its state cannot be read: no plain file",
    ),
    "manifest a FIFO": (
        lambda directory: a_fifo(directory / snapshot.MANIFEST),
        "its manifest.json cannot be read",
    ),
    "manifest nested": (
        lambda directory: (directory / snapshot.MANIFEST).write_text("[" * 100_000),
        "its manifest.json cannot be read",
    ),
    "manifest endless": (
        lambda directory: (directory / snapshot.MANIFEST).write_text(
            '{"state_digest": 0, "key_digest": 0, "source": 0, "ram_bytes": 1e999}'
        ),
        "its manifest.json cannot be read",
    ),
    "half-written": (
        lambda directory: (directory / snapshot.MANIFEST).unlink(),
        "its manifest.json cannot be read",
    ),
    "manifest truncated": (
        lambda directory: os.truncate(directory / snapshot.MANIFEST, 20),
        "its manifest.json cannot be read",
    ),
    "manifest of another time": (
        lambda directory: (directory / snapshot.MANIFEST).write_text('{"source": "0123"}'),
        "its manifest.json cannot be read",
    ),
    "manifest no object": (
        lambda directory: (directory / snapshot.MANIFEST).write_text("[]"),
        "its manifest.json cannot be read",
    ),
    "open to others": (
        lambda directory: directory.chmod(0o750),
        "its directory is not this user's alone",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.timeout(20)
def test_a_damaged_snapshot(saved: Path, name: str) -> None:
    damage, why = DAMAGES[name]
    damage(saved)
    assert snapshot.fault(saved) == why


def test_one_of_another_user(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: saved.stat().st_uid + 1)
    assert snapshot.fault(saved) == "its directory is not this user's alone"


def test_a_damaged_entry_is_made_anew_with_one_line(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def build(directory: Path) -> None:
        for path in saved.iterdir():
            os.link(path, directory / path.name)

    def entry() -> Path:
        return cache.entry("snapshot", ["a"], build, fault=snapshot.fault, mode=0o700)

    made = entry()
    assert made.stat().st_mode & 0o777 == 0o700
    assert entry() == made
    assert capsys.readouterr().err == ""
    (made / "state").unlink()
    assert entry() == made
    assert snapshot.fault(made) == ""
    assert capsys.readouterr().err == (
        f"gdbstub: the cache's {made.name} is damaged "
        "(its state cannot be read: No such file or directory): it is made again\n"
    )


def test_what_a_snapshot_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    built = image.Image(Path("/kernel-1/Image"), Path("/lab-1/initrd.cpio"))
    monkeypatch.setattr(image, "prepare", lambda _suite: built)
    monkeypatch.setattr(tools, "run", lambda _argv: "QEMU emulator version 7.2.22")
    usual = Options()

    def key(options: Options) -> str:
        return cache.key_of(snapshot.key_parts(options))

    assert key(usual) == key(replace(usual, cpu="max"))
    others = [
        replace(usual, cpu="cortex-a57"),
        replace(usual, gic=2),
        replace(usual, cpus=2),
        replace(usual, memory_mib=1024),
        replace(usual, mte=True),
    ]
    keys = {key(options) for options in [usual, *others]}
    monkeypatch.setattr(tools, "run", lambda _argv: "QEMU emulator version 10.0.2")
    keys.add(key(usual))
    for other in (
        replace(built, kernel=Path("/kernel-2/Image")),
        replace(built, initrd=Path("/2")),
    ):
        monkeypatch.setattr(image, "prepare", lambda _suite, other=other: other)
        keys.add(key(usual))
    assert len(keys) == len(others) + 4


class Starts:
    """Stand-ins for the ways to start a lab, which record what was asked of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.faults: list[str] = []
        monkeypatch.setattr(tools, "require", lambda *_: None)
        monkeypatch.setattr(image, "prepare", lambda _suite: None)
        monkeypatch.setattr(boot, "start", self.start("boot"))
        monkeypatch.setattr(snapshot, "prepare", self.start("prepare"))
        monkeypatch.setattr(restore, "restore", self.start("restore"))
        monkeypatch.setattr(cache, "discard", self.start("discard"))

    def start(self, name: str) -> Callable[..., object]:
        def call(*_: object) -> object:
            self.asked.append(name)
            if self.faults and self.faults[0].startswith(name):
                raise LabError(self.faults.pop(0))
            return snapshot.Snapshot(Path("/snapshot-1"), "", "", 0, 0, "")

        return call


@pytest.mark.parametrize(
    ("faults", "asked", "said"),
    [
        ([], "prepare restore", ""),
        (
            ["restore: bad"],
            "prepare restore discard prepare restore",
            "gdbstub: the lab's snapshot cannot be used (restore: bad): it is made anew\n",
        ),
        (
            ["prepare: disk"],
            "prepare boot",
            "gdbstub: the lab boots without a snapshot: prepare: disk\n",
        ),
        (
            ["restore: bad", "restore: again"],
            "prepare restore discard prepare restore boot",
            "gdbstub: the lab's snapshot cannot be used (restore: bad): it is made anew\n"
            "gdbstub: the lab boots without a snapshot: restore: again\n",
        ),
    ],
)
def test_a_lab_starts_in_any_case(
    faults: list[str],
    asked: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    starts = Starts(monkeypatch)
    starts.faults = faults
    restore.start(Options())
    assert " ".join(starts.asked) == asked
    assert capsys.readouterr().err == said


def test_a_lab_with_vhe_is_booted(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts(monkeypatch)
    restore.start(Options(vhe=True))
    assert starts.asked == ["boot"]


def test_no_room_for_a_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    booted: list[Options] = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(snapshot, "key_parts", lambda _options: ["a"])
    monkeypatch.setattr(snapshot, "NEEDED_BYTES", 1 << 60)
    monkeypatch.setattr(boot, "start", booted.append)
    with pytest.raises(LabError, match=r"kvm-gdbstub has \d+ MB left, and a snapshot takes \d+"):
        snapshot.prepare(Options())
    assert not booted
    assert not list((tmp_path / "kvm-gdbstub").glob("*snapshot-*"))


def test_labs_that_are_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The files of a lab whose guard is gone are removed."""
    for module in (directories, private):
        monkeypatch.setattr(module, "temporary_places", lambda **_: [tmp_path])
    processes = LabProcesses.prepare(lambda wiring: ["sleep", str(wiring.directory)])
    directory = processes.directory
    assert list(persistent.running()) == []
    (directory / persistent.FILE).write_text(json.dumps(asdict(Options())))
    assert [each.directory for each in persistent.running()] == [directory]
    assert persistent.find(Options()) == persistent.find(Options(cpu="max")) == directory
    assert persistent.find(Options(gic=2)) is None
    for damaged in ("[]", '"x"', "null", "{", "[" * 100_000, b"\xff"):
        data = damaged if isinstance(damaged, bytes) else damaged.encode()
        (directory / persistent.FILE).write_bytes(data)
        assert persistent.find(Options()) is None
        (lab,) = persistent.running()
        assert described(lab) == "its hardware is unknown: up.json is damaged"
    (directory / persistent.FILE).write_text('{"cpu": 5}')
    assert described(*persistent.running()) == "cpu=5"
    processes.guard.kill()
    processes.stop()
    assert list(persistent.running()) == []
    assert not directory.exists()
    name = directory.name
    assert name.startswith(PREFIX)
    assert capsys.readouterr().err == (
        f"gdbstub: the lab {name} has ended without lab down: its files are removed\n"
    )
