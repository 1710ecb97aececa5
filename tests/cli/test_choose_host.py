"""The host that ``--host auto`` chooses, and its warning."""

import os

import pytest

from gdbstub.cli.settings import run as settings
from gdbstub.cli.settings.run import choose_host


@pytest.mark.parametrize(
    ("machine", "usable", "chosen", "said"),
    [
        ("aarch64", True, "kvm", False),
        ("aarch64", False, "lab", True),
        ("x86_64", True, "lab", False),
        ("x86_64", False, "lab", False),
    ],
)
def test_auto(
    machine: str,
    usable: bool,
    chosen: str,
    said: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(settings, "machine_name", lambda: machine)
    monkeypatch.setattr(os, "access", lambda *_: usable)
    assert choose_host("auto") == chosen
    assert ("--host kvm says why" in caplog.text) == said
