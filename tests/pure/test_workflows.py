"""The workflows of CI and of releases: who may what, and that no action can change under us."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
#: An action by the hash of a commit, with the version that it is of.
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+){2}")

workflows = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def test_there_are_both() -> None:
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "release.yml"]


@workflows
def test_each_action_is_pinned_by_a_hash(path: Path) -> None:
    used = re.findall(r"uses: (.*)", path.read_text())
    assert used
    assert [action for action in used if not PINNED.fullmatch(action)] == []


def test_an_action_has_one_version() -> None:
    used = {line for path in WORKFLOWS for line in re.findall(r"uses: (.*)", path.read_text())}
    names = [line.partition("@")[0] for line in used]
    assert len(names) == len(set(names))


@workflows
def test_rights_are_given_job_by_job(path: Path) -> None:
    text = path.read_text()
    assert "\npermissions: {}\n" in text
    jobs = re.split(r"^  (?=[\w-]+:$)", text.partition("\njobs:\n")[2], flags=re.MULTILINE)[1:]
    assert jobs
    for job in jobs:
        assert "\n    permissions:\n" in job
        assert "\n    timeout-minutes: " in job


def test_only_the_job_that_publishes_may_write() -> None:
    writes = [path.name for path in WORKFLOWS for _ in re.findall(": write", path.read_text())]
    assert set(writes) == {"release.yml"}
    build = (ROOT / ".github/workflows/release.yml").read_text().partition("\n  publish:\n")[0]
    assert ": write" not in build


def test_scripts_that_are_named_exist() -> None:
    for path in WORKFLOWS:
        for named in re.findall(r"(?<![\w/])(?:scripts/[\w.]+|\.ci/run)", path.read_text()):
            assert (ROOT / named).stat().st_mode & 0o111, named
