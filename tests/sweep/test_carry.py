"""Sweeps on workers that do not see the files of the sweep, as on other hosts."""

import json
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gdbstub.errors import StubError
from gdbstub.sweep import carry, cluster
from gdbstub.sweep.cluster import DaskEngine
from gdbstub.sweep.execute import SweepTask
from gdbstub.sweep.outcome import RunOutcome, Status
from gdbstub.sweep.plan import SweepRun
from tests.bounds import HANGS
from tests.pure.elves import Elf
from tests.sweep.conftest import Sweeps
from tests.sweep.dask_cluster import Cluster, hiding, running
from tests.sweep.in_process import plan


@pytest.fixture(scope="module")
def away(hidden: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A worker as on another host."""
    with running(tmp_path_factory.mktemp("dask"), [hiding(hidden)], "--no-nanny") as found:
        yield found


@pytest.fixture
def sweeps(hidden_sweeps: Sweeps) -> Sweeps:
    return hidden_sweeps


JUDGE = """\
#!/bin/sh
cat note.txt
guest=${GDBSTUB_PARAMETERS##*'"guest": "'}
tail -c 7 "${guest%%'"'*}"
echo " $GDBSTUB_PARAMETERS"
exit $((GDBSTUB_RUN % 2))
"""


def test_workers_that_see_none_of_the_files(sweeps: Sweeps, away: Cluster) -> None:
    """Guests and the script's files go there; console, record, output and core come back."""
    (sweeps.directory / "guest").write_bytes(Elf().build() + b"carried")
    judge = sweeps.directory / "scripts" / "judge"
    judge.parent.mkdir()
    judge.write_text(JUDGE)
    judge.chmod(0o755)
    (sweeps.directory / "note.txt").write_text("a note\n")
    argv = sweeps.command(
        "guest", "--runs=4", "--seed=1", away.on, "--carry=scripts/judge", "--carry=note.txt",
        "--script=scripts/judge",
    )  # fmt: skip
    # As a core file would be written: into the directory of the stub.
    command = "--command=sh -c 'mkdir more; echo >more/core; exec \"$@\"' sh "
    done = subprocess.run(
        [word.replace("--command=", command) for word in argv], cwd=sweeps.directory,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=HANGS, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert (
        f"gdbstub: 1 worker does not see {sweeps.out}: guests and results are carried; a script "
        "finds those files that --carry names\n"
    ) in done.stderr
    outcomes = sweeps.outcomes()
    assert [outcome.status for outcome in outcomes] == ["failed", "passed"] * 2
    for outcome in outcomes:
        note, rest = outcome.output.splitlines()
        carried, parameters = rest.split(" ", 1)
        assert (note, carried) == ("a note", "carried")
        guest = Path(json.loads(parameters)["guest"])
        assert guest.name == "guest"
        assert sweeps.directory not in guest.parents
        files = sweeps.out / outcome.files
        assert (files / "console.txt").read_text() == f"run {outcome.number} boots\n"
        assert (files / "record.txt").read_text().startswith("<- $?\n")
        assert (files / "output.txt").read_text() == outcome.output
        assert (files / "more" / "core").exists() == (outcome.number == 1)  # first of its group
    assert not (sweeps.out / carry.TOKEN).exists()


def test_a_script_that_is_not_carried(sweeps: Sweeps, away: Cluster) -> None:
    (sweeps.directory / "judge").write_text("#!/bin/sh\n")
    _, err = sweeps.call("guest", away.on, "--script", "./judge", status=2)
    assert f" does not see {sweeps.directory}: name the script's files by --carry)" in err


def test_what_cannot_be_carried(sweeps: Sweeps, away: Cluster) -> None:
    """A directory, and files that are absent when they are needed."""
    with closing(DaskEngine(away.on.removeprefix("--on="), sweeps.directory)) as engine:
        cases = {
            str(sweeps.directory): f"does not see {sweeps.directory}; directories are not carried",
            "/absent": "/absent: No such file or directory",
        }
        for guest, said in cases.items():
            run = SweepRun(1, {"guest": guest}, 1)
            task = SweepTask(plan(sweeps, "true")._replace(files=("guest",)), run, sweeps.directory)
            outcome = engine.submit(task).result(HANGS)
            assert outcome.status is Status.ERROR
            assert said in outcome.message


def test_a_worker_gets_a_file_once(
    sweeps: Sweeps, away: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if several runs that lack it are under way."""
    sent = list[str]()

    def content(file: carry.CarriedFile) -> bytes:
        sent.append(file.path)
        return carry.content(file)

    monkeypatch.setattr(cluster, "content", content)
    guest, note = sweeps.directory / "guest", sweeps.directory / "note"
    guest.write_bytes(os.urandom(1 << 20))
    note.write_bytes(os.urandom(10))
    common = plan(sweeps, "true")._replace(files=("guest",), carried=("note",))
    with closing(DaskEngine(away.on.removeprefix("--on="), sweeps.directory)) as engine:
        outcomes = [
            engine.submit(
                SweepTask(common, SweepRun(number, {"guest": str(guest)}, 1), sweeps.directory)
            )
            for number in range(1, 9)
        ]
        (sweeps.directory / "runs").mkdir()
        assert [each.result(HANGS).status for each in outcomes] == [Status.PASSED] * 8
    assert sorted(sent) == [str(guest), str(note)]


def test_a_worker_that_hangs_while_a_file_is_on_its_way(
    sweeps: Sweeps, away: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runs that wait for it do so for a while, and no longer."""
    with closing(DaskEngine(away.on.removeprefix("--on="), sweeps.directory)) as engine:
        (worker,) = engine._away

        def content(file: carry.CarriedFile) -> bytes:
            away.nannies[0].send_signal(signal.SIGSTOP)
            return carry.content(file)

        monkeypatch.setattr(cluster, "content", content)
        monkeypatch.setattr(cluster, "_STORE_SECONDS", 0.25)
        guest = sweeps.directory / "guest"
        guest.write_bytes(os.urandom(100))
        run = SweepRun(1, {"guest": str(guest)}, 1)
        task = SweepTask(plan(sweeps, "true")._replace(files=("guest",)), run, sweeps.directory)
        try:
            outcome = engine.submit(task).result(HANGS)
        finally:
            away.nannies[0].send_signal(signal.SIGCONT)
        assert outcome.is_repeated
        assert outcome.message == f"{worker} has not stored {guest} for 0.25 s"


def test_a_file_that_has_changed(sweeps: Sweeps) -> None:
    guest = sweeps.directory / "guest"
    task = SweepTask(
        plan(sweeps, "true")._replace(files=("guest",)), SweepRun(1, {"guest": str(guest)}, 1),
        sweeps.directory,
    )  # fmt: skip
    (found,) = carry.Files().of(task)
    assert carry.content(found) == guest.read_bytes()
    guest.write_bytes(b"another")
    with pytest.raises(StubError, match=f"{guest} has changed since the sweep began"):
        carry.content(found)


def test_a_guest_that_the_script_reads_too(sweeps: Sweeps) -> None:
    guest = sweeps.directory / "guest"
    task = SweepTask(
        plan(sweeps, "true")._replace(files=("guest",), carried=("guest",)),
        SweepRun(1, {"guest": str(guest)}, 1),
        sweeps.directory,
    )
    assert [file.name for file in carry.Files().of(task)] == ["", "guest"]


def test_what_is_too_large_to_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carry, "TEXT_BYTES", 4)
    monkeypatch.setattr(carry, "OTHER_BYTES", 10)
    for name, size in {"console.txt": 6, "core.zst": 11, "more": 9, "yet more": 2}.items():
        (tmp_path / name).write_bytes(bytes(range(size)))
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert carry.packed(tmp_path) == {
        "console.txt": bytes([2, 3, 4, 5]),
        "more": bytes(range(9)),
        "not-carried.txt": (
            b"Too large to be carried here:\nconsole.txt: all but the last 4 of 6 bytes\n"
            b"core.zst: 11 bytes\nyet more: 2 bytes\n"
        ),
    }


def test_nobody_else_may_read_what_came_back(tmp_path: Path) -> None:
    """A core file has the guest's RAM."""
    (tmp_path / "runs").mkdir()
    outcome = RunOutcome(1, Status.FAILED, files="runs/000001-abcdefgh")
    before = os.umask(0)
    try:
        carry.unpack(carry.Answer(outcome, left={"core.zst": b"RAM", "more/core": b""}), tmp_path)
    finally:
        os.umask(before)
    place = tmp_path / outcome.files
    modes = {
        str(path.relative_to(tmp_path / "runs")): stat.S_IMODE(path.stat().st_mode)
        for path in (place, *place.rglob("*"))
    }
    assert modes == {
        place.name: 0o700,
        f"{place.name}/core.zst": 0o600,
        f"{place.name}/more": 0o700,
        f"{place.name}/more/core": 0o600,
    }
    assert (place / "core.zst").read_bytes() == b"RAM"


@pytest.mark.parametrize("name", ["absent", "/etc/hostname", "../other", "."])
def test_files_that_a_script_could_not_find(sweeps: Sweeps, name: str) -> None:
    _, err = sweeps.call("guest", f"--carry={name}", "--script=true", status=2)
    assert err.startswith(f"gdbstub: --carry {name}: expected a file")
    assert not sweeps.out.exists()
