"""The mirror of Debian that ``GDBSTUB_DEBIAN`` names, for labs on other distributions."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from gdbstub.errors import LabError
from gdbstub.lab import debian, tools


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Sequence[str]]:
    """The programs that are called, on an Ubuntu that has Debian's keys; each succeeds."""
    called: list[Sequence[str]] = []

    def call(argv: Sequence[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        called.append(argv)
        return subprocess.CompletedProcess(argv, 0, b"", b"")

    (tmp_path / "keyring.gpg").touch()
    monkeypatch.setattr(debian, "KEYRING", str(tmp_path / "keyring.gpg"))
    monkeypatch.setattr(debian, "release", lambda: "ubuntu noble")
    monkeypatch.setattr(tools, "require", lambda *_: None)
    monkeypatch.setattr(tools, "call", call)
    return called


@pytest.mark.parametrize(("suite", "taken"), [("", "trixie"), ("trixie-backports",) * 2])
def test_packages_of_a_mirror_that_is_named(
    calls: list[Sequence[str]], suite: str, taken: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("GDBSTUB_DEBIAN", " https://mirror.example/debian   trixie ")
    assert debian.has_packages()
    assert debian.packages_release() == "debian trixie"
    with debian.Arm64(tmp_path, tmp_path, suite) as packages:
        packages.update()
    source = f"deb [signed-by={debian.KEYRING}] https://mirror.example/debian {taken} main\n"
    assert (tmp_path / "sources.list").read_text() == source
    ((*options, verb),) = calls
    assert verb == "update"
    assert {
        f"-oDir::Etc::sourcelist={tmp_path}/sources.list",
        "-oDir::Etc::sourceparts=-",
    } <= set(options)


def test_lists_of_another_source_are_not_taken_for_fresh(
    calls: list[Sequence[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for suite in ("bookworm", "bookworm", "trixie"):
        monkeypatch.setenv("GDBSTUB_DEBIAN", f"https://mirror.example/debian {suite}")
        debian.Arm64(tmp_path, tmp_path).update()
    assert len(calls) == 2


@pytest.mark.parametrize("text", ["trixie", "https://mirror.example/debian", "a b c", "/x y"])
def test_a_mirror_that_is_none(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDBSTUB_DEBIAN", text)
    line = f"GDBSTUB_DEBIAN {text!r}: expected the address of a Debian mirror and a suite, such as"
    with pytest.raises(LabError, match=f"^{re.escape(line)}"):
        debian.has_packages()


@pytest.mark.usefixtures("calls")
def test_debians_keys_are_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDBSTUB_DEBIAN", "https://mirror.example/debian trixie")
    Path(debian.KEYRING).unlink()
    with pytest.raises(LabError, match=r"keyring\.gpg does not exist: install the package debian-"):
        debian.Arm64(tmp_path, tmp_path)
