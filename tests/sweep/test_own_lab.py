"""The labs of a sweep: one for each run, unless one is named."""

from pathlib import Path

import pytest

from gdbstub.lab import opening, persistent
from gdbstub.lab.host import OWN, VARIABLE, Lab
from gdbstub.lab.qemu import Options
from gdbstub.sweep.execute import environment
from gdbstub.sweep.plan import SweepRun


def test_a_lab_of_ones_own_though_one_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Lab(Path("made"))
    monkeypatch.setattr(persistent, "find", lambda _options: Path("up"))
    monkeypatch.setattr(opening, "start_lab", lambda _options: made)
    monkeypatch.setenv(VARIABLE, OWN)
    assert opening.open_lab(Options()) is made


@pytest.mark.parametrize(("named", "passed"), [("", OWN), ("/run/lab", "/run/lab")])
def test_the_lab_of_a_run(monkeypatch: pytest.MonkeyPatch, named: str, passed: str) -> None:
    if named:
        monkeypatch.setenv(VARIABLE, named)
    else:
        monkeypatch.delenv(VARIABLE, raising=False)
    assert environment(SweepRun(1, {}, 0))[VARIABLE] == passed
