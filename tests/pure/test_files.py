"""Files that options name: a FIFO is not waited for without end."""

import os
import threading
import time
from pathlib import Path

import pytest

from gdbstub.errors import InputError
from gdbstub.vmm import files
from gdbstub.vmm.files import check_input, read_input


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


def test_a_fifo_is_no_file_to_read_again(fifo: Path) -> None:
    """GDB reads --symbols, too, and a kernel's symbols are made by another program."""
    with pytest.raises(InputError, match=r"--symbols .*fifo: is a FIFO, which is read once; ex"):
        check_input(fifo, "--symbols")
