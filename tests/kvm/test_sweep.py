"""``gdbstub sweep`` over real runs: what KVM and GDB leave of each is in its row."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from gdbstub.lab.host import VARIABLE
from gdbstub.sweep.outcome import Status
from gdbstub.sweep.store import Store
from tests.sweep.race import build

BOUND: Final = 240
SCRIPT: Final = """
gdb-multiarch -nx -batch "$GDB_SYMBOLS" -ex "target remote $GDB_REMOTE" \
    -ex "break all_there" -ex continue -ex backtrace -ex "print counter" \
    -ex "quit $GDBSTUB_RUN == 2"
"""


@pytest.fixture(scope="session")
def race(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``examples/race.c``, with so few rounds that no update is lost."""
    return build(tmp_path_factory.mktemp("race") / "race", rounds=1, base=0x4008_0000)


@pytest.mark.parametrize("own_labs", [False, True])
def test_runs_of_a_guest_with_two_vcpus(race: Path, tmp_path: Path, own_labs: bool) -> None:
    environment = {**os.environ}
    if own_labs:
        environment.pop(VARIABLE, None)
    argv = [
        sys.executable,
        "-m",
        "gdbstub",
        "sweep",
        str(race),
        "--smp=2",
        "--memory=32M",
        "--runs=2",
    ]
    done = subprocess.run(
        [*argv, "--jobs=2", "--out=out", "--script", SCRIPT],
        cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=BOUND, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    with Store.read(tmp_path / "out") as store:
        rows = [(row.run, row.outcome) for row in store.rows()]
    assert [outcome and outcome.status for _, outcome in rows] == [Status.PASSED, Status.FAILED]
    _, failed = rows[1]
    assert failed is not None
    assert re.fullmatch(r"status 1 · [sh]wbreak · all_there < first( < \?\?)?", failed.signature)
    assert "$1 = 2\n" in failed.output  # each vCPU has added one
    record = (tmp_path / "out" / failed.files / "record.txt").read_text()
    assert re.search(r"^-> \$T05.*[sh]wbreak:", record, re.MULTILINE)
