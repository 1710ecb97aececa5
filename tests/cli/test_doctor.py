"""``gdbstub doctor``, for people and for scripts."""

import dataclasses
import json
import platform
from pathlib import Path
from typing import Any

import pytest

from gdbstub import __version__
from gdbstub.cli import doctor
from gdbstub.cli.main import call
from gdbstub.errors import InputError
from gdbstub.lab import debian, tools
from tests.cli.program import GDBSTUB, Place

KEYS = [
    *("version", "python", "distribution", "kernel", "machine", "host", "kvm", "tools"),
    *("missing", "packages"),
]
TOOLS = [
    "gdb-multiarch",
    "qemu-system-aarch64",
    "ssh",
    "cpio",
    "apt-get",
    "aarch64-linux-gnu-gcc",
]
KVM = doctor.Kvm(True, 6, 4, 512, 48, True, True, False, ["V3", "V2"])


def examined(place: Place) -> tuple[int, dict[str, Any]]:
    done = place.call("doctor", "--json", program=GDBSTUB)
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found


def test_a_machine_without_tools(place: Place) -> None:
    status, found = examined(place)
    assert list(found) == KEYS
    assert list(found["tools"]) == TOOLS
    assert set(found["tools"].values()) == {None}
    assert found["machine"] == platform.machine()
    assert found["version"].startswith(__version__)
    if found["host"] == "lab":
        line = "qemu-system-aarch64, for the lab: apt-get install qemu-system-arm"
        assert line in found["missing"]
        assert "apt-get, for preparing the lab: apt-get install apt" in found["missing"]
        assert {"apt", "cpio", "qemu-system-arm"} <= set(found["packages"])
    assert not any("this machine is" in text for text in found["missing"])
    assert status == (0 if found["host"] == "kvm" else 1)


def test_versions_are_what_the_tools_say(place: Place) -> None:
    bin = place.files.parent / "bin"
    bin.mkdir()
    for name, says in (("gdb-multiarch", "GNU gdb (Debian 13.1-3) 13.1"), ("ssh", "nothing")):
        (bin / name).write_text(f"#!/bin/sh\necho '{says}'\n")
        (bin / name).chmod(0o755)
    (bin / "cpio").write_text("#!/bin/sh\nprintf 'cpio \\377 2.13'\n")
    (bin / "cpio").chmod(0o755)
    (bin / "qemu-system-aarch64").write_text("no program at all")
    (bin / "qemu-system-aarch64").chmod(0o755)
    status, found = examined(place)
    assert found["tools"]["gdb-multiarch"] == "13.1"
    assert found["tools"]["ssh"] == "found"
    assert found["tools"]["cpio"] == "2.13"
    assert found["tools"]["qemu-system-aarch64"] == "found"
    assert status == (0 if found["host"] == "kvm" else 1), "apt-get is missing, for one"


def test_it_changes_nothing(place: Place) -> None:
    before = place.everything()
    place.call("doctor", program=GDBSTUB)
    assert place.everything() == before


def test_for_people(place: Place) -> None:
    done = place.call("doctor", program=GDBSTUB)
    assert f"on {platform.machine()}" in done.stdout
    assert not [line for line in done.stdout.splitlines() if line.endswith(" ")]
    assert "missing: cpio, for preparing the lab: apt-get install cpio\n" in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("all of these packages: apt-get install apt cpio gcc-aarch64-linux-gnu ")
    assert done.stderr == ""


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_nothing_is_missing_where_nothing_is(
    machine: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On another machine than arm64 that is so with the lab's tools, on arm64 with KVM and gdb."""
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(doctor, "_examine_kvm", lambda: KVM)
    lacks = set() if machine == "x86_64" else {"qemu-system-aarch64", "cpio", "apt-get"}
    monkeypatch.setattr(doctor, "_version", lambda name: None if name in lacks else "1.0")
    monkeypatch.setattr(debian, "release", lambda: "debian trixie")
    assert call(["doctor"]) == 0
    assert capsys.readouterr().out.endswith("\nnothing is missing\n")


@pytest.mark.parametrize(("found", "missing"), [("/usr/bin/gdb", 0), (None, 1)])
def test_the_gdb_of_an_arm64_machine_is_enough_there(
    found: str | None, missing: int, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(doctor, "_examine_kvm", lambda: KVM)
    monkeypatch.setattr("shutil.which", lambda name: found if name == "gdb" else None)
    assert call(["doctor"]) == 0
    assert capsys.readouterr().out.count("missing: gdb-multiarch") == missing


def test_on_another_system_a_mirror_or_a_container_is_advised(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(debian, "release", lambda: "ubuntu noble")
    monkeypatch.setattr(doctor, "_version", lambda _: "1.0")
    assert call(["doctor"]) == 1
    line = (
        "missing: the lab is made of Debian's packages, and this is ubuntu noble: name a mirror of"
    )
    assert line in capsys.readouterr().out
    monkeypatch.setenv(debian.MIRROR, "https://mirror.example/debian trixie")
    assert call(["doctor"]) == 0
    assert capsys.readouterr().out.endswith("\nnothing is missing\n")


def test_python_packages_of_the_lab_are_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(doctor, "_version", lambda _: "1.0")
    monkeypatch.setattr(tools, "MODULES", ("rich", "absent.module", "absent"))
    assert call(["doctor"]) == 1
    line = "missing: Python packages absent.module, absent, for the lab: pip install 'kvm-gdbstub["
    assert line in capsys.readouterr().out


@pytest.mark.parametrize("absent", TOOLS)
def test_no_guest_can_be_run_without_what_the_lab_needs(
    absent: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(debian, "release", lambda: "debian trixie")
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == absent else "1.0")
    assert call(["doctor"]) == (0 if absent == "gdb-multiarch" else 1)
    assert f"missing: {absent}" in capsys.readouterr().out


@pytest.mark.parametrize(("cc", "status"), [("/usr/bin/cc", 0), (None, 1)])
def test_the_compiler_of_an_arm64_machine_is_enough_there(
    arm64: pytest.MonkeyPatch, cc: str | None, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    arm64.setattr(debian, "release", lambda: "debian trixie")
    arm64.setattr(doctor, "_examine_kvm", lambda: dataclasses.replace(KVM, guest_debug=False))
    arm64.setattr(doctor, "_version", lambda name: None if name.endswith("gcc") else "1.0")
    arm64.setattr("shutil.which", lambda name: cc if name == "cc" else "/usr/bin/x")
    assert call(["doctor"]) == status
    assert capsys.readouterr().out.count("missing: aarch64-linux-gnu-gcc") == status


@pytest.fixture
def arm64(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(doctor, "_version", lambda _: "1.0")
    return monkeypatch


def test_an_arm64_machine_with_kvm(
    arm64: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arm64.setattr(doctor, "_examine_kvm", lambda: KVM)
    assert call(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["host"], found["missing"]) == ("kvm", [])
    assert found["kvm"] == {
        "guest_debug": True,
        "breakpoint_slots": 6,
        "watchpoint_slots": 4,
        "max_vcpus": 512,
        "ipa_bits": 48,
        "sve": True,
        "pauth": True,
        "mte": False,
        "gic": ["V3", "V2"],
    }
    assert call(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "on this machine's KVM" in said
    assert "GICv3, GICv2" in said
    assert "yes, yes, no" in said


def test_an_arm64_machine_whose_kvm_is_not_for_us(
    arm64: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refuse() -> int:
        raise InputError("/dev/kvm is not for this user: join the group 'kvm'")

    arm64.setattr(debian, "release", lambda: "debian trixie")
    arm64.setattr(doctor, "open_kvm", refuse)
    assert call(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["host"], found["kvm"]) == ("lab", None)
    assert found["missing"] == ["KVM: /dev/kvm is not for this user: join the group 'kvm'"]
