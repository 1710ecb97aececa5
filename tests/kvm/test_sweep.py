"""``gdbstub sweep`` over real runs: what KVM and GDB leave of each is in its row."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from gdbstub.lab.host import VARIABLE
from gdbstub.sweep.outcome import RunOutcome, Status
from gdbstub.sweep.store import Store
from tests.kvm.conftest import GUESTS
from tests.sweep.race import EXAMPLES, build

BOUND: Final = 240
LONG_BOUND: Final = 540
SCRIPT: Final = """
gdb-multiarch -nx -batch "$GDB_SYMBOLS" -ex "target remote $GDB_REMOTE" \
    -ex "break all_there" -ex "break lost_update" -ex continue -ex backtrace -ex "print counter" \
    -ex "quit $GDBSTUB_RUN == 2"
"""
FIND_RACE: Final = (
    'gdb-multiarch -nx -batch "$GDB_SYMBOLS" -ex "set remotetimeout 30" '
    '-ex "target remote $GDB_REMOTE" '
    f"-x {EXAMPLES / 'race.gdb'}"
)
#: Status 1 if ``guests/version.c`` is wrong.
JUDGE: Final = """
gdb-multiarch -nx -batch "$GDB_SYMBOLS" \
    -ex "set remotetimeout 30" -ex "target remote $GDB_REMOTE" \
    -ex "break right" -ex "break wrong" -ex continue -ex "print sum" \
    -ex 'quit $_caller_is("wrong", 0)'
"""


def call(
    *words: str, directory: Path, own_labs: bool = False, bound: int = BOUND, jobs: int = 2
) -> "subprocess.CompletedProcess[str]":
    """Call ``gdbstub sweep`` in *directory*, with its results in ``out``."""
    environment = {**os.environ}
    if own_labs:
        environment.pop(VARIABLE, None)
    argv = [sys.executable, "-m", "gdbstub", "sweep", *words, "--memory=32M", f"--jobs={jobs}"]
    return subprocess.run(
        [*argv, "--out=out"],
        cwd=directory, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=bound, check=False,
    )  # fmt: skip


def outcomes(directory: Path) -> Sequence[RunOutcome]:
    with Store.read(directory / "out") as store:
        return [row.outcome for row in store.rows() if row.outcome is not None]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "flaky" in metafunc.fixturenames:
        kinds = {"always": False}
        if metafunc.config.getoption("--long"):
            kinds["at times"] = True
        metafunc.parametrize("flaky", kinds.values(), ids=kinds)


@pytest.fixture(scope="session")
def race(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``examples/race.c``, with so few rounds that an update is lost in one boot of a hundred."""
    return build(tmp_path_factory.mktemp("race") / "race", rounds=1, base=0x4008_0000)


def test_runs_of_a_guest_with_two_vcpus_in_labs_of_their_own(race: Path, tmp_path: Path) -> None:
    done = call(
        str(race), "--smp=2", "--runs=2", "--script", SCRIPT, directory=tmp_path, own_labs=True
    )
    assert done.returncode == 1, done.stderr
    passed, failed = outcomes(tmp_path)
    assert (passed.status, failed.status) == (Status.PASSED, Status.FAILED)
    place = r"status 1 · [sh]wbreak · (all_there|lost_update) < first( < \?\?)?"
    assert (stopped := re.fullmatch(place, failed.signature)) is not None
    # Each vCPU has added one.
    assert f"$1 = {2 if stopped[1] == 'all_there' else 1}\n" in failed.output
    record = (tmp_path / "out" / failed.files / "record.txt").read_text()
    assert re.search(r"^-> \$T05.*[sh]wbreak:", record, re.MULTILINE)


#: Additions of each vCPU and the pause before each: an update is lost in most boots, or in few.
OFTEN: Final = (50_000, 1)
RARELY: Final = (5000, 100)


@pytest.mark.timeout(LONG_BOUND + 60)
def test_a_race_of_two_vcpus_is_found(tmp_path: Path, long: bool, figure: list[str]) -> None:
    """An update is lost where the host preempts a vCPU between its load and its store."""
    rounds, pause = RARELY if long else OFTEN
    guest = build(tmp_path / "race", rounds=rounds, pause=pause, base=0x4008_0000)
    done = call(
        str(guest), "--smp=2", "--runs=1000", "--until=failure", "--script", FIND_RACE,
        directory=tmp_path, bound=LONG_BOUND if long else BOUND, jobs=2 if long else 1,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    found = outcomes(tmp_path)
    assert {outcome.status for outcome in found} <= {Status.PASSED, Status.FAILED}
    failed = next(outcome for outcome in found if outcome.status is Status.FAILED)
    assert re.fullmatch(r"status 1 · [sh]wbreak · lost_update < first( < \?\?)?", failed.signature)
    total = re.search(r"^\$1 = (\d+)$", failed.output, re.MULTILINE)
    assert total is not None
    assert int(total[1]) < 2 * rounds
    # The record has it, too: the last stop is at lost_update, and then GDB reads the counter.
    record = (tmp_path / "out" / failed.files / "record.txt").read_text()
    *_, after = re.split(r"^-> \$T05.*[sh]wbreak:.*$", record, flags=re.MULTILINE)
    assert f"-> ${int(total[1]).to_bytes(8, 'little').hex()}\n" in after
    figure.append(
        f"run {failed.number} of {rounds} additions each lost {2 * rounds - int(total[1])}"
    )


@pytest.mark.timeout(LONG_BOUND + 60)
def test_bisection(tmp_path: Path, flaky: bool, long: bool, figure: list[str]) -> None:
    """Bisection of real guests: a bad one fails each time, or two times in three."""
    number, first_bad = (16, 11) if long else (2, 1)
    for version in range(number):
        _version(tmp_path, version, first_bad, flaky=flaky)
    images = [f"image-{version:02}" for version in range(number)]
    options = ["--confidence=0.95"] if flaky else []
    done = call(
        "bisect", f"--good={images[0]}", f"--bad={images[-1]}", *options, *images,
        "--script", JUDGE, directory=tmp_path, bound=LONG_BOUND if long else BOUND,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"first bad: {tmp_path / images[first_bad]}\n"
    sums = [re.search(r"^\$1 = (\d+)$", each.output, re.MULTILINE) for each in outcomes(tmp_path)]
    assert {each[1] for each in sums if each} == {"55", "54"}
    said = next(line for line in done.stderr.splitlines() if "probability" in line)
    figure.append(f"{number} images: {said}")


def _version(directory: Path, version: int, first_bad: int, *, flaky: bool) -> None:
    defined = {"VERSION": version, "FIRST_BAD": first_bad, "FLAKY": int(flaky)}
    argv = [
        "aarch64-linux-gnu-gcc", "-g", "-O1", "-nostdlib", "-static", "-ffreestanding",
        "-fno-stack-protector", "-mgeneral-regs-only", "-Wall", "-Werror",
        "-Wl,-N,-Ttext=0x40080000,--build-id=none,--no-warn-rwx-segments",
        *(f"-D{name}={value}" for name, value in defined.items()),
        "-o", str(directory / f"image-{version:02}"), str(GUESTS / "version.c"),
    ]  # fmt: skip
    subprocess.run(argv, check=True)
