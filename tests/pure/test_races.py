"""Two processes that do the same at once, each held at the worst moment by the other."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gdbstub.errors import InputError
from gdbstub.foreign import journal
from gdbstub.foreign.journal import Journal
from gdbstub.foreign.process import VmmProcess
from gdbstub.lab import cache, debian, directories
from gdbstub.protocol import endpoint
from gdbstub.protocol.endpoint import Unix

#: Begin of the programs of other processes: ``held`` says a word, and waits to be let go.
HELD = """
import sys
from pathlib import Path
def say(word):
    print(word, flush=True)
def held(owner, name, word):
    real = getattr(owner, name)
    def call(*arguments, **more):
        setattr(owner, name, real)
        say(word)
        sys.stdin.readline()
        return real(*arguments, **more)
    setattr(owner, name, call)
"""


class Other:
    """Another process, which has come to where it waits."""

    def __init__(self, program: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", HELD + program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hears(self, word: str) -> None:
        """Wait until it says *word*."""
        assert self._process.stdout
        assert self._process.stdout.readline().strip() == word

    def go(self) -> None:
        """Let it go on."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> int:
        """Wait for its end; return its exit status."""
        self._process.communicate("")
        return self._process.returncode

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()


@contextmanager
def other(program: str, *arguments: str) -> Iterator[Other]:
    process = Other(program, *arguments)
    try:
        yield process
    finally:
        process.kill()


LISTENS = """
import os, socket
from gdbstub.errors import InputError
from gdbstub.protocol.endpoint import Unix
held(*{"listen": (socket.socket, "listen"), "unlink": (os, "unlink")}[sys.argv[2]], "held")
try:
    with Unix(sys.argv[1]).bind() as bound:
        say("listens")
        while True:
            bound.accept()[0].sendall(b"other")
except InputError as error:
    say("refused")
"""


def reached(path: Path) -> bytes:
    """Return the words of whoever listens at *path*."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        return client.recv(100)


def stale(path: Path) -> None:
    """Leave a socket at *path* on which nobody listens."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))


@pytest.mark.parametrize("place", ["listen", "unlink"])
def test_a_socket_that_another_stub_is_making_stays_its(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bound, and not yet listened on; or looked at, and not yet removed."""
    monkeypatch.setattr(endpoint, "_LOCK_SECONDS", 0.05)
    stale(tmp_path / "gdb")
    if place == "listen":
        os.unlink(tmp_path / "gdb")
    with other(LISTENS, str(tmp_path / "gdb"), place) as second:
        second.hears("held")
        with pytest.raises(InputError, match="another process is making a socket"):
            Unix(str(tmp_path / "gdb")).bind()
        second.go()
        second.hears("listens")
        assert reached(tmp_path / "gdb") == b"other"
        with pytest.raises(InputError, match="another program listens there"):
            Unix(str(tmp_path / "gdb")).bind()


def test_a_lock_on_a_directory_keeps_nobody_from_a_new_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may read a directory can lock it."""
    monkeypatch.setattr(endpoint, "_LOCK_SECONDS", 0.05)
    program = "import fcntl, os; fd = os.open(sys.argv[1], 0); fcntl.flock(fd, 2); say('has it')"
    with other(f"{program}; sys.stdin.readline()", str(tmp_path)) as locker:
        locker.hears("has it")
        Unix(str(tmp_path / "gdb")).bind().close()


DEBUGS = """
from gdbstub.foreign import journal
from gdbstub.foreign.process import VmmProcess
journal.directory = lambda: Path(sys.argv[1])
held_by = journal.Journal(VmmProcess(int(sys.argv[2])))
held_by.begin((), ())
say("debugs")
sys.stdin.readline()
held_by.end()
say("ended")
sys.stdin.readline()
"""


def test_a_debugger_that_follows_another_one_at_once_has_a_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one removes its journal when the second one has opened that."""
    monkeypatch.setattr(journal, "directory", lambda: tmp_path)
    process = VmmProcess(os.getpid())
    real = os.open

    def opened(path: Path, flags: int, mode: int) -> int:
        monkeypatch.setattr(os, "open", real)
        fd = real(path, flags, mode)
        first.go()
        first.hears("ended")
        return fd

    with other(DEBUGS, str(tmp_path), str(os.getpid())) as first:
        first.hears("debugs")
        with pytest.raises(InputError, match="is being debugged by another gdbstub"):
            Journal(process)
        monkeypatch.setattr(os, "open", opened)
        with Journal(process) as second:
            second.begin((), ())
            assert os.path.samestat(os.lstat(second.path), os.fstat(second._fd))
            with pytest.raises(InputError, match="is being debugged by another gdbstub"):
                Journal(process)
            second.end()
    assert os.listdir(tmp_path) == []


def test_a_link_in_the_place_of_a_journal_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ours").write_text("kept")
    process = VmmProcess(os.getpid())
    monkeypatch.setattr(journal, "directory", lambda: tmp_path)
    link = tmp_path / f"{process.pid}-{process.start_time}.journal"
    link.symlink_to(tmp_path / "ours")
    with pytest.raises(OSError, match="symbolic links"):
        Journal(process)
    assert (tmp_path / "ours").read_text() == "kept"


BUILDS = """
from gdbstub.lab import cache
held(Path, "mkdir", "held")
def build(directory):
    (directory / "file").write_text("built")
    with open(sys.argv[1], "a") as log:
        log.write("built\\n")
say(cache.entry("thing", ["a"], build))
"""


def test_the_first_use_of_a_cache_by_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are where the directories are made, which are absent."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new" / "cache"))
    log = tmp_path / "log"
    with other(BUILDS, str(log)) as one, other(BUILDS, str(log)) as two:
        for each in (one, two):
            each.hears("held")
        for each in (one, two):
            each.go()
        name = f"thing-{cache.key_of([cache.CHECKSUMS, 'a'])}"
        for each in (one, two):
            each.hears(str(tmp_path / "new/cache/kvm-gdbstub" / name))
    assert log.read_text() == "built\n"
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


CLAIMS = """
from gdbstub.lab import directories, private
directories.temporary_places = private.temporary_places = lambda **_: [Path(sys.argv[1])]
held(private, "open_lock", "made")
say(directories.claim()[0].name)
sys.stdin.readline()
"""


def test_a_lab_directory_without_its_lock_yet_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directories, "temporary_places", lambda: [tmp_path])
    with other(CLAIMS, str(tmp_path)) as second:
        second.hears("made")
        directories.remove_stale()
        (made,) = os.listdir(tmp_path)
        second.go()
        second.hears(made)
        monkeypatch.setattr(directories, "UNCLAIMED_SECONDS", -1.0)
        directories.remove_stale()
        assert os.listdir(tmp_path) == [made]


def test_the_sources_of_packages_are_those_of_who_has_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process names another mirror meanwhile."""
    (tmp_path / "keyring").touch()
    monkeypatch.setattr(debian, "KEYRING", str(tmp_path / "keyring"))

    def packages(mirror: str) -> debian.Arm64:
        monkeypatch.setenv(debian.MIRROR, f"http://{mirror}.invalid/debian trixie")
        return debian.Arm64(tmp_path / "apt", tmp_path)

    with packages("one"):
        sources = (tmp_path / "apt" / "sources.list").read_text()
        assert "http://one.invalid/debian" in sources
        packages("two")
        assert (tmp_path / "apt" / "sources.list").read_text() == sources
