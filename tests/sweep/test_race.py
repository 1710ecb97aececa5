"""A planted race of two vCPUs, found by a sweep: real GDB, the whole stub, the fake machine."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from gdbstub.sweep.outcome import Status
from gdbstub.sweep.store import Store
from tests.bounds import HANGS
from tests.sweep.conftest import Sweeps
from tests.sweep.race import EXAMPLES, build

#: Additions and the pause before each: one boot in some ten, or in a hundred, loses an update.
OFTEN: Final = (8, 50)
RARELY: Final = (1, 1500)
SCRIPT: Final = (
    'gdb-multiarch -nx -batch "$GDB_SYMBOLS" -ex "target remote $GDB_REMOTE" -x '
    f"{EXAMPLES / 'race.gdb'}"
)


@pytest.fixture
def race(sweeps: Sweeps, long: bool) -> Path:
    rounds, pause = RARELY if long else OFTEN
    return build(sweeps.directory / "race", rounds=rounds, pause=pause)


def test_until_failure_finds_it_and_its_seed_shows_it_again(
    sweeps: Sweeps, race: Path, long: bool
) -> None:
    words = ["guest", "--smp=2", "--runs=1000", "--until=failure", "--seed=4", "--script", SCRIPT]
    argv = sweeps.command(*words)
    argv[argv.index("guest")] = str(race)
    stand_in = next(word for word in argv if word.startswith("--command="))
    argv[argv.index(stand_in)] = f"--command={sys.executable} -m tests.sweep.fake_run"
    environment = {**sweeps.environment, "PYTHONPATH": str(EXAMPLES.parent)}
    done = subprocess.run(
        argv, cwd=sweeps.directory, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=280 if long else HANGS, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    with Store.read(sweeps.out) as store:
        rows = [(row.run, row.outcome) for row in store.rows() if row.outcome]
    failed = [(run, outcome) for run, outcome in rows if outcome.status is Status.FAILED]
    assert {outcome.status for _, outcome in rows} == {Status.PASSED, Status.FAILED}
    run, outcome = failed[0]
    assert outcome.signature == "status 1 · swbreak · lost_update < first < ??"
    total = re.search(r"^\$1 = (\d+)$", outcome.output, re.MULTILINE)
    assert total is not None
    assert int(total[1]) < 2 * (RARELY if long else OFTEN)[0]
    record = (sweeps.out / outcome.files / "record.txt").read_text()
    last = re.findall(r"-> \$T05.*", record)[-1]
    assert "swbreak" in last
    again = subprocess.run(
        sweeps.command("replay", str(run.number)), cwd=sweeps.directory, env=environment,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=HANGS, check=False,
    )  # fmt: skip
    assert (again.returncode, f"\n$1 = {total[1]}\n" in again.stdout) == (1, True), again.stderr
