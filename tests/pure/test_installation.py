"""Messages about missing programs, on Debian and elsewhere."""

from pathlib import Path

import pytest

from gdbstub import errors
from gdbstub.errors import LabError
from gdbstub.lab import tools


@pytest.mark.parametrize(
    ("has_apt", "words"),
    [(True, "apt-get install cpio"), (False, "install what Debian calls cpio")],
)
def test_a_missing_program(
    has_apt: bool, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apt = tmp_path / "apt-get"
    if has_apt:
        apt.touch()
    monkeypatch.setattr(errors, "_APT_GET", str(apt))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(LabError, match=rf"^cpio not found: {words}$"):
        tools.require("cpio")
