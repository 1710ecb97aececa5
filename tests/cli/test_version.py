"""The version, and the commit: of a checkout, of a wheel, or unknown."""

import re
import subprocess
from pathlib import Path

import pytest

from gdbstub import __version__
from gdbstub.cli import version
from gdbstub.cli.main import call


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A place where the program seems to be."""
    monkeypatch.setattr(version, "_ROOT", tmp_path)
    monkeypatch.setattr(version, "__file__", str(tmp_path / "version.py"))
    return tmp_path


def test_a_checkout_says_its_commit_and_whether_it_was_changed(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "file").write_text("one")
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "First"]):
        subprocess.run(["git", "-C", root, *words], check=True)
    assert call(["--version"]) == 0
    said = capsys.readouterr().out
    assert re.fullmatch(rf"gdbstub, version {__version__}, commit [0-9a-f]{{12}}\n", said)
    (root / "file").write_text("two")
    assert version.version() == said.removeprefix("gdbstub, version ").strip() + "-dirty"


def test_an_installation_says_what_was_written_at_its_build(root: Path) -> None:
    assert version.version() == __version__
    (root / version.COMMIT).write_text("0123456789ab\n")
    assert version.version() == f"{__version__}, commit 0123456789ab"


def test_bytes_that_are_not_utf_8_are_shown(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / version.COMMIT).write_bytes(b"0123\xff\n")
    assert version.version() == f"{__version__}, commit 0123\ufffd"
    (root / ".git").mkdir()
    git = root / "git"
    git.write_text("#!/bin/sh\nprintf '4567\\377\\033'\n")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", str(root))
    assert version.version() == f"{__version__}, commit 4567\ufffd\\x1b"


def test_without_git_the_commit_is_unknown(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / ".git").mkdir()
    monkeypatch.setenv("PATH", str(root))
    assert version.version() == __version__
