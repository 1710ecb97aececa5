"""Endpoints and hosts that cannot be had: one clear line, exit status 2, and no effect."""

import os
import platform
import socket
from collections.abc import Iterator

import pytest

from gdbstub.cli.main import call
from gdbstub.cli.settings import run as settings
from tests.cli.program import Place


@pytest.fixture(params=["127.0.0.1", "::1"])
def taken(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port of localhost that somebody listens on, by one of its addresses only."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("guest", [["guest.elf"], []], ids=["a guest", "the demo"])
def test_a_port_in_use_by_the_lab_path(place: Place, taken: int, guest: list[str]) -> None:
    line = place.refusal(*guest, "--host=lab", "--gdb", f"localhost:{taken}", "--record=record")
    assert line == (
        f"localhost:{taken} is in use: another program listens there; "
        "choose another, or port 0 for a free one"
    )


def test_a_unix_socket_in_use(place: Place) -> None:
    path = place.files / "gdb"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(path))
        listener.listen()
        line = place.refusal("guest.elf", "--gdb", "unix:gdb", "--console", "out")
    assert line == "unix:gdb is in use: another program listens there"


def test_ipv6_is_not_for_the_lab(place: Place) -> None:
    line = place.refusal("guest.elf", "--host", "lab", "--gdb", "[::1]:0")
    assert line == "[::1]:0: the lab is reached by IPv4 only; give localhost:PORT"


def test_a_long_socket_path_is_not_for_the_lab(place: Place) -> None:
    path = "/tmp/" + "a" * 98
    line = place.refusal("--host", "lab", "--gdb", f"unix:{path}")
    assert line.startswith(f"unix:{path}: the path of a socket has at most 100 bytes")


@pytest.fixture
def arm64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this machine an arm64 one with a KVM that opens, and is never asked for a VM."""
    monkeypatch.setattr(settings, "machine_name", lambda: "aarch64")
    monkeypatch.setattr("gdbstub.kvm.device.open_kvm", lambda _: os.open(os.devnull, os.O_RDWR))
    monkeypatch.setattr("gdbstub.vmm.guest.VmmGuest", None)


@pytest.mark.usefixtures("arm64")
def test_a_port_in_use_by_the_kvm_path(
    place: Place, taken: int, capfd: pytest.CaptureFixture[str]
) -> None:
    before = place.everything()
    arguments = [str(place.files / "guest.elf"), f"--record={place.files}/record", "--host=kvm"]
    assert call(["run", *arguments, f"--gdb=localhost:{taken}"]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"gdbstub: localhost:{taken} is in use: another program listens there")
    assert place.everything() == before


def test_another_machines_kvm_is_never_asked(
    place: Place, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "machine_name", lambda: "x86_64")
    monkeypatch.setattr("gdbstub.kvm.device.open_kvm", None)
    arguments = ["run", str(place.files / "guest.elf"), "--host=kvm", "--gdb=localhost:0"]
    assert call(arguments) == 2
    line = "--host kvm: this machine is x86-64; arm64 guests need --host lab here"
    assert capfd.readouterr() == ("", f"gdbstub: {line}\n")
    monkeypatch.undo()
    if platform.machine() == "x86_64":  # and so it is for real, whatever its own KVM can do
        assert place.refusal("guest.elf", "--host", "kvm", "--record", "record") == line


def test_a_launch_in_the_lab_checks_its_endpoint_first(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gdbstub.lab.vmm.prepare", lambda: pytest.fail("it is too late"))
    argv = ["launch", "--host", "lab", "--gdb", "[::1]:0", "--", "qemu-system-aarch64"]
    assert call(argv) == 2
    assert "the lab is reached by IPv4 only" in capsys.readouterr().err
