"""Files of a session in the lab that are kept on their way there."""

import errno
import os
from pathlib import Path

import pytest

from gdbstub.cli.in_lab import run
from gdbstub.cli.settings.run import Source
from gdbstub.errors import LabError


def test_a_pipe_is_kept_in_a_file(tmp_path: Path) -> None:
    place = tmp_path / "guest"
    assert run._again(Source(Path("/dev/fd/63"), b"image"), place) == place
    assert place.read_bytes() == b"image"
    assert run._again(Source(Path("Image"), None), place) == Path("Image")


def test_a_full_disk_is_one_line_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", write)
    said = (
        rf"^/dev/fd/63 cannot be kept in {tmp_path} on its way into the lab \(No space left on "
        r"device\): free 2.0 MiB there, or set TMPDIR to another directory of yours$"
    )
    with pytest.raises(LabError, match=said):
        run._again(Source(Path("/dev/fd/63"), bytes(2 << 20)), tmp_path / "guest")
