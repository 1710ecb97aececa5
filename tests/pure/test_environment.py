"""``scripts/environment.sh``, where a .venv is there already, or one that was cut short."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
#: A Python that has no modules to miss, and makes environments whose Python is the same.
PYTHON = """\
#!/bin/sh
echo "$@" >>calls
case "$*" in
"-m venv"*) mkdir -p .venv/bin && cp "$PYTHON" .venv/bin/python ;;
esac
"""
#: The Python of an environment that was interrupted before it had pip.
CUT_SHORT = PYTHON + 'case "$*" in "-m pip"*) exit 1 ;; esac\n'


@pytest.mark.parametrize(
    ("there", "makes"), [(None, 1), (CUT_SHORT, 1), (PYTHON, 0)], ids=["none", "cut short", "whole"]
)
def test_an_environment_is_made_if_none_can_be_used(
    tmp_path: Path, there: str | None, makes: int
) -> None:
    shutil.copytree(SCRIPTS, tmp_path / "scripts")
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    if there is not None:
        inner = tmp_path / ".venv" / "bin" / "python"
        inner.parent.mkdir(parents=True)
        inner.write_text(there)
        inner.chmod(0o755)
    subprocess.run(
        [tmp_path / "scripts" / "environment.sh", "lab"],
        env={**os.environ, "PYTHON": str(python)},
        stderr=subprocess.DEVNULL,
        check=True,
    )
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len([call for call in calls if call.startswith("-m venv")]) == makes
    assert calls[-1].startswith("-m pip install")
    assert calls[-1].endswith("--editable .[lab]")


def test_all_that_a_bare_machine_lacks_is_asked_for_at_once(tmp_path: Path) -> None:
    shutil.copytree(SCRIPTS, tmp_path / "scripts")
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "bin").mkdir()
    for program in ("sh", "dirname", "mkdir", "cp", "chmod"):
        (tmp_path / "bin" / program).symlink_to(str(shutil.which(program)))
    installs = '#!/bin/sh\necho ensure "$@" >>calls\ncp python bin/python3; chmod +x bin/python3\n'
    (tmp_path / "scripts" / "ensure.sh").write_text(installs)
    subprocess.run(
        [tmp_path / "scripts" / "environment.sh", "lab", "ssh:openssh-client"],
        env={"PATH": str(tmp_path / "bin")},
        stderr=subprocess.PIPE,
        check=False,
    )
    first, *others = (tmp_path / "calls").read_text().splitlines()
    assert first == (
        "ensure python3:python3-venv cc:gcc no program but headers:python3-dev ssh:openssh-client"
    )
    assert others[0].startswith("-c import sys")
    # Where there is one: what it lacks, and the rest.
    assert others[-2:] == ["ensure cc:gcc ssh:openssh-client", "-m venv .venv"]


def test_verbs_find_the_programs_of_administrators() -> None:
    """A user's PATH has no sbin on Debian, where mke2fs is."""
    shown = subprocess.run(
        ["make", "-s", "--eval", 'shown: ; @echo "$$PATH"', "shown"],
        cwd=SCRIPTS.parent,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    assert "/usr/sbin" in shown.strip().split(":")


@pytest.mark.parametrize(
    ("programs", "remedy"),
    [
        (("apt-get", "sudo"), "sudo apt-get install some-package"),
        (("apt-get",), "as root: apt-get install some-package"),
        (("sudo",), "install what your system calls some-package"),
    ],
    ids=["sudo with a password", "no sudo", "no apt-get"],
)
def test_a_user_is_told_how_to_install(
    tmp_path: Path, programs: tuple[str, ...], remedy: str
) -> None:
    for name, content in dict.fromkeys(programs, "exit 1").items() | {("id", "echo 1000")}:
        (tmp_path / name).write_text(f"#!/bin/sh\n{content}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "sh").symlink_to(str(shutil.which("sh")))
    done = subprocess.run(
        ["/bin/sh", SCRIPTS / "ensure.sh", "no program:some-package"],
        env={"PATH": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, f"gdbstub: missing programs; {remedy}\n")
