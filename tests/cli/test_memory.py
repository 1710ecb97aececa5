"""``--memory`` beyond what the host has: a warning, since pages are taken as they are used."""

import logging
import ssl
import sys

import pytest

from gdbstub.cli import main
from gdbstub.cli.main import call
from gdbstub.cli.serving import run
from gdbstub.cli.settings import run as settings
from gdbstub.errors import MachineError
from gdbstub.kvm import memory
from tests.cli.program import Place

GIB = 1 << 30


@pytest.mark.parametrize(("words", "where"), [([], "this host"), (["--inner"], "the lab")])
def test_it_is_told(
    place: Place, words: list[str], where: str, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "ssl", ssl)  # given back; a start in a lab takes it away
    monkeypatch.setattr(settings, "choose_host", lambda _: "kvm")
    monkeypatch.setattr(settings, "host_memory", lambda: 4 * GIB - (100 << 20))
    monkeypatch.setattr(run, "run", lambda _: 0)
    monkeypatch.setattr(main, "set_up_logging", lambda _: None)
    guest = str(place.files / "guest.elf")
    with caplog.at_level(logging.WARNING):
        assert call(["run", guest, "--gdb=127.0.0.1:0", "--memory=3G", *words]) == 0
        assert not caplog.messages
        assert call(["run", guest, "--gdb=127.0.0.1:0", "--memory=8G", *words]) == 0
    line = f"--memory 8G: {where} has 3996.0 MiB; a guest that uses more is killed, or something"
    assert caplog.messages == [f"{line} else is"]


def test_the_host_has_some() -> None:
    assert settings.host_memory() > 256 << 20


def test_ram_that_cannot_be_had_is_one_line() -> None:
    line = "no memory for .* MiB of guest RAM: Cannot allocate memory; give the guest less by --mem"
    with pytest.raises(MachineError, match=line):
        memory._anonymous(1 << 62)
