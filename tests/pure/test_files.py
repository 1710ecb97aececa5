"""Files that options name: a FIFO is not waited for without end."""

import os
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest

from gdbstub.errors import InputError
from gdbstub.vmm import files
from gdbstub.vmm.files import Bound, check_input, read_input


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("option", ["", "--initrd", "--dtb"])
def test_a_fifo_that_nobody_writes_is_one_line(
    option: str, fifo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_FIFO_SECONDS", 0.0)
    with pytest.raises(InputError, match="fifo: is a FIFO that nobody has opened to write in 0 s"):
        read_input(fifo, option)


@pytest.mark.timeout(20)
def test_a_writer_of_a_fifo_may_take_its_time(fifo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer is there, and has nothing yet; or comes after a look."""
    monkeypatch.setattr(files, "_FIFO_SECONDS", 60.0)
    writers: list[int] = []

    def come(_seconds: float) -> None:
        writers.append(os.open(fifo, os.O_WRONLY))
        threading.Timer(0.05, end).start()

    def end() -> None:
        os.write(writers[0], b"late")
        os.close(writers[0])

    monkeypatch.setattr(time, "sleep", come)
    assert read_input(fifo) == b"late"


@pytest.mark.timeout(20)
def test_all_that_a_writer_of_a_fifo_writes_is_read(fifo: Path) -> None:
    writer = threading.Thread(target=fifo.write_bytes, args=[b"x" * 200_000])
    writer.start()
    assert read_input(fifo) == b"x" * 200_000
    writer.join()


MOST = Bound(1 << 20, "the guest's --memory", unless=b"\x7fELF")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["file", "fifo"])
def test_a_file_without_end_is_one_line(kind: str, fifo: Path, tmp_path: Path) -> None:
    """There may be no memory for all of it."""
    path = tmp_path / kind
    if kind == "fifo":
        reader = subprocess.Popen(["sh", "-c", 'exec cat /dev/zero >"$0"', path])
    else:
        with open(path, "wb") as sparse:
            sparse.truncate(1 << 40)
    with pytest.raises(InputError, match=r"has \S+ MiB or more; expected at most 1M, the guest's"):
        read_input(path, "--initrd", MOST)
    if kind == "fifo":
        reader.wait()


def test_a_file_that_begins_as_one_with_more_is_read_whole(tmp_path: Path) -> None:
    """Most of a vmlinux is debug information."""
    path = tmp_path / "file"
    path.write_bytes(b"\x7fELF" + bytes(2 << 20))
    assert len(read_input(path, "", MOST)) == (2 << 20) + 4
    path.write_bytes(bytes(1 << 20))
    assert read_input(path, "", MOST) == bytes(1 << 20)
    assert read_input(Path("/proc/self/comm"), "", MOST)  # its size is 0 until it is read


@pytest.mark.timeout(20)
def test_a_file_that_has_nothing_to_read_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """/proc/kmsg is a regular file, and waited for more."""
    ours, theirs = os.pipe()
    path = Path(f"/proc/self/fd/{ours}")
    monkeypatch.setattr(stat, "S_ISFIFO", lambda _: False)
    monkeypatch.setattr(stat, "S_ISREG", lambda _: True)
    with pytest.raises(InputError, match="has nothing to read now; expected a file that is whole"):
        read_input(path)
    os.close(ours)
    os.close(theirs)


def test_a_fifo_is_no_file_to_read_again(fifo: Path) -> None:
    """GDB reads --symbols, too, and a kernel's symbols are made by another program."""
    with pytest.raises(InputError, match=r"--symbols .*fifo: is a FIFO, which is read once; ex"):
        check_input(fifo, "--symbols")
